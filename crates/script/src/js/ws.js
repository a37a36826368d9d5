const native = globalThis.__trimtab.websocket;
const wait = native.next;
// What suspends is called by a function of its own: its return links the user's stack frames again.
function next(id, ms) { return wait(id, ms); }

const LEAVING = 1001;

/** One session: runs until the connection is closed. */
function run(id, response, set) {
  const handlers = new Map();
  let timers = [];
  let leaving = false;
  const emit = (name, ...values) => {
    for (const handle of handlers.get(name) ?? []) handle(...values);
  };
  const timer = (handle, ms, every) => {
    if (typeof handle !== 'function') throw new Error('a WebSocket timer needs a function');
    if (!(ms > 0)) throw new Error(`a WebSocket timer needs more than 0 ms, got ${ms}`);
    timers.push({ due: native.now() + ms, handle, every: every ? ms : 0 });
  };
  const due = () => {
    const now = native.now();
    const ready = timers.filter((one) => one.due <= now);
    timers = timers.filter((one) => one.due > now || one.every);
    for (const one of ready) {
      one.due = now + one.every;
      if (!leaving) one.handle();
    }
  };
  const socket = {
    on(name, handle) { handlers.set(name, [...(handlers.get(name) ?? []), handle]); },
    send(data) { native.send(id, String(data)); },
    sendBinary(data) {
      if (!(data instanceof ArrayBuffer)) throw new Error('sendBinary needs an ArrayBuffer');
      native.send(id, data);
    },
    ping() { native.ping(id, false); },
    setTimeout(handle, ms) { timer(handle, ms, false); },
    setInterval(handle, ms) { timer(handle, ms, true); },
    close(code = LEAVING) {
      leaving = true;
      native.close(id, code, '', true);
    },
  };
  const tell = (event) => {
    switch (event.type) {
      case 'text': return emit('message', event.data);
      case 'binary': return emit('binaryMessage', event.data);
      case 'error': return emit('error', { error: () => event.error });
      default: return emit(event.type);
    }
  };
  try {
    set(socket);
    emit('open');
    for (;;) {
      due();
      const first = Math.min(...timers.map((one) => one.due));
      const event = next(id, Number.isFinite(first) ? Math.max(first - native.now(), 0) : undefined);
      if (event === undefined) continue;
      if (event.type === 'closed') {
        emit('close', event.code);
        return response;
      }
      if (!leaving) tell(event);
    }
  } catch (error) {
    if (!leaving) {
      native.close(id, LEAVING, '', true);
      emit('close', LEAVING);
    }
    throw error;
  }
}

export function connect(url, params, set) {
  if (arguments.length < 2) throw new Error('invalid number of arguments to ws.connect');
  if (typeof params === 'function') [params, set] = [undefined, params];
  if (typeof set !== 'function') throw new Error('last argument to ws.connect must be a function');
  const id = native.open(String(url), [], params ?? undefined, undefined);
  try {
    const event = next(id);
    if (event.type === 'failed') {
      if (params?.throw) throw new Error(event.error);
      return { url: '', status: 0, headers: {}, body: '', error: event.error };
    }
    const { status, headers, body } = event;
    const response = { url: event.refused ? '' : String(url), status, headers, body, error: '' };
    return event.refused ? response : run(id, response, set);
  } finally {
    native.release(id);
  }
}
export default { connect };
