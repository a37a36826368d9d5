const native = globalThis.__trimtab.websocket;

const [CONNECTING, OPEN, CLOSING, CLOSED] = [0, 1, 2, 3];

export class WebSocket {
  static CONNECTING = CONNECTING;
  static OPEN = OPEN;
  static CLOSING = CLOSING;
  static CLOSED = CLOSED;

  #id; #listeners = new Map();
  url; protocol = ''; extensions = ''; binaryType = 'arraybuffer'; readyState = CONNECTING;
  onopen = null; onmessage = null; onping = null; onpong = null; onclose = null; onerror = null;

  constructor(url, protocols, params) {
    if (url === undefined) throw new Error('WebSocket requires a url');
    this.url = String(url);
    if (!/^wss?:/i.test(this.url)) {
      throw new Error(`WebSocket requires url with scheme ws or wss, but got "${/^([a-z]+):/i.exec(this.url)?.[1] ?? ''}"`);
    }
    const names = [protocols ?? []].flat().map(String);
    this.#id = native.open(this.url, names, params ?? undefined, (event) => this.#take(event));
  }

  get bufferedAmount() { return this.readyState === CLOSED ? 0 : native.unsent(this.#id); }

  addEventListener(type, listener) {
    this.#listeners.set(type, [...(this.#listeners.get(type) ?? []), listener]);
  }
  removeEventListener(type, listener) {
    this.#listeners.set(type, (this.#listeners.get(type) ?? []).filter((one) => one !== listener));
  }

  send(data) {
    if (this.readyState !== OPEN) throw new Error('InvalidStateError');
    if (typeof data === 'string' || data instanceof ArrayBuffer) return native.send(this.#id, data);
    if (ArrayBuffer.isView(data)) {
      return native.send(this.#id, data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength));
    }
    throw new Error(`unsupported send type ${typeof data}`);
  }
  ping() {
    if (this.readyState !== OPEN) throw new Error('InvalidStateError');
    native.ping(this.#id, true);
  }
  close(code = 1000, reason = '') {
    if (this.readyState >= CLOSING) return;
    this.readyState = CLOSING;
    native.close(this.#id, code, String(reason), false);
  }

  #emit(type, fields = {}) {
    const event = { type, target: this, timestamp: Date.now(), ...fields };
    const own = this['on' + type];
    for (const listener of [...(own ? [own] : []), ...(this.#listeners.get(type) ?? [])]) listener.call(this, event);
  }

  #take(event) {
    try {
      this.#handle(event);
    } catch (error) {
      this.#emit('error', { error: `${error}` });
      native.close(this.#id, 1001, '', true);
      throw error;
    }
  }

  #handle(event) {
    switch (event.type) {
      case 'open':
        if (event.refused) return this.#emit('error', { error: event.refused });
        if (this.readyState === CONNECTING) this.readyState = OPEN;
        this.protocol = event.protocol;
        return this.#emit('open');
      case 'text':
      case 'binary':
        return this.#emit('message', { data: event.data, origin: this.url });
      case 'failed':
      case 'error':
        return this.#emit('error', { error: event.error });
      case 'closed':
        this.readyState = CLOSED;
        return this.#emit('close', { code: event.code, reason: event.reason });
      default:
        return this.#emit(event.type);
    }
  }
}
export default { WebSocket };
