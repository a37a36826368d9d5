// Offline counterpart of jslib's url: URL and URLSearchParams, as far as http URLs need them.
const encode = (text) => encodeURIComponent(text).replace(/%20/g, '+').replace(/[!'()~]/g,
  (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
const decode = (text) => {
  const spaced = text.replace(/\+/g, ' ');
  try { return decodeURIComponent(spaced); } catch { return spaced; }
};

export class URLSearchParams {
  #pairs = [];
  #changed = () => {};
  constructor(init = '', changed) {
    if (typeof init === 'string') this.#read(init);
    else if (init && typeof init[Symbol.iterator] === 'function') {
      for (const [name, value] of init) this.#pairs.push([String(name), String(value)]);
    } else for (const name of Object.keys(init || {})) this.#pairs.push([name, String(init[name])]);
    if (typeof changed === 'function') this.#changed = changed;
  }
  #read(text) {
    const query = text.startsWith('?') ? text.slice(1) : text;
    for (const pair of query.split('&').filter((part) => part !== '')) {
      const at = pair.indexOf('=');
      this.#pairs.push(at < 0 ? [decode(pair), ''] : [decode(pair.slice(0, at)), decode(pair.slice(at + 1))]);
    }
  }
  append(name, value) { this.#pairs.push([String(name), String(value)]); this.#changed(); }
  delete(name) { this.#pairs = this.#pairs.filter(([known]) => known !== name); this.#changed(); }
  get(name) { return this.#pairs.find(([known]) => known === name)?.[1] ?? null; }
  getAll(name) { return this.#pairs.filter(([known]) => known === name).map(([, value]) => value); }
  has(name) { return this.#pairs.some(([known]) => known === name); }
  set(name, value) {
    const at = this.#pairs.findIndex(([known]) => known === name);
    if (at < 0) { this.append(name, value); return; }
    this.#pairs = this.#pairs.filter(([known], index) => known !== name || index === at);
    this.#pairs[at] = [String(name), String(value)];
    this.#changed();
  }
  sort() { this.#pairs.sort(([a], [b]) => (a < b ? -1 : Number(a > b))); this.#changed(); }
  forEach(run) { for (const [name, value] of this.#pairs) run(value, name, this); }
  entries() { return this.#pairs[Symbol.iterator](); }
  keys() { return this.#pairs.map(([name]) => name)[Symbol.iterator](); }
  values() { return this.#pairs.map(([, value]) => value)[Symbol.iterator](); }
  get size() { return this.#pairs.length; }
  [Symbol.iterator]() { return this.entries(); }
  toString() { return this.#pairs.map(([name, value]) => `${encode(name)}=${encode(value)}`).join('&'); }
}

const SHAPE = /^([a-z][a-z0-9+.-]*:)\/\/(?:([^:@/?#]*)(?::([^@/?#]*))?@)?(\[[^\]]*\]|[^:/?#]*)(?::(\d+))?([^?#]*)(\?[^#]*)?(#.*)?$/i;
const PORTS = { 'http:': '80', 'https:': '443', 'ws:': '80', 'wss:': '443' };

function flat(path) {
  const out = [];
  for (const part of path.split('/').slice(1)) {
    if (part === '..') out.pop();
    else if (part !== '.') out.push(part);
  }
  return `/${out.join('/')}`;
}

export class URL {
  constructor(input, base) {
    let text = String(input).trim();
    if (!SHAPE.test(text)) {
      if (base === undefined) throw new TypeError(`Invalid URL: ${text}`);
      const from = new URL(base);
      if (text.startsWith('//')) text = from.protocol + text;
      else if (text.startsWith('/')) text = from.origin + text;
      else if (text.startsWith('?')) text = from.origin + from.pathname + text;
      else if (text.startsWith('#') || text === '') text = from.origin + from.pathname + from.search + text;
      else text = from.origin + from.pathname.slice(0, from.pathname.lastIndexOf('/') + 1) + text;
    }
    const found = SHAPE.exec(text);
    if (!found || found[4] === '') throw new TypeError(`Invalid URL: ${input}`);
    this.protocol = found[1].toLowerCase();
    this.username = found[2] || '';
    this.password = found[3] || '';
    this.hostname = found[4].toLowerCase();
    this.port = found[5] && found[5] !== PORTS[this.protocol] ? found[5] : '';
    this.pathname = flat(found[6] || '/');
    this.hash = found[8] && found[8] !== '#' ? found[8] : '';
    this.search = found[7] && found[7] !== '?' ? found[7] : '';
    const params = new URLSearchParams(this.search, () => {
      const query = params.toString();
      this.search = query ? `?${query}` : '';
    });
    Object.defineProperty(this, 'searchParams', { value: params, enumerable: true });
  }
  get host() { return this.hostname + (this.port ? `:${this.port}` : ''); }
  get origin() { return `${this.protocol}//${this.host}`; }
  get href() {
    const user = this.username ? `${this.username}${this.password ? `:${this.password}` : ''}@` : '';
    return `${this.protocol}//${user}${this.host}${this.pathname}${this.search}${this.hash}`;
  }
  toString() { return this.href; }
  toJSON() { return this.href; }
}
export default { URL, URLSearchParams };
