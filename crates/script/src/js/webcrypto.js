// WebCrypto as far as hashes, HMACs and random numbers go; the rest is refused by name.
const native = globalThis.__trimtab.crypto;

const HASHES = { 'SHA-1': 'sha1', 'SHA-256': 'sha256', 'SHA-384': 'sha384', 'SHA-512': 'sha512' };
const BLOCK_BYTES = { sha1: 64, sha256: 64, sha384: 128, sha512: 128 };
const MAX_RANDOM_BYTES = 65536;
const MAX_KEY_BYTES = 65536;

function failure(name, message) {
  const error = new Error(message);
  error.name = name;
  return error;
}

const nameOf = (algorithm) => String(typeof algorithm === 'string' ? algorithm : algorithm?.name).toUpperCase();

function hashOf(algorithm) {
  const hash = HASHES[nameOf(algorithm)];
  if (hash === undefined) throw failure('NotSupportedError', `the hash ${nameOf(algorithm)} is none of ${Object.keys(HASHES).join(', ')}`);
  return hash;
}

function onlyHmac(algorithm, what) {
  if (nameOf(algorithm) !== 'HMAC') throw failure('NotSupportedError', `${what} of ${nameOf(algorithm)} is not supported, HMAC is`);
}

/** A copy of what an ArrayBuffer or a view of one holds. */
function bytesOf(data) {
  if (data instanceof ArrayBuffer) return new Uint8Array(data.slice(0));
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength));
  throw new TypeError('expected an ArrayBuffer or a view of one');
}

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

function encode(bytes) {
  let out = '';
  for (let at = 0; at < bytes.length; at += 3) {
    const bits = (bytes[at] << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    const digits = Math.min(4, bytes.length - at + 1);
    for (let digit = 0; digit < digits; digit++) out += BASE64URL[(bits >> (18 - 6 * digit)) & 63];
  }
  return out;
}

function decode(text) {
  const bytes = new Uint8Array(Math.floor(text.length * 3 / 4));
  let bits = 0;
  for (let at = 0, held = 0, next = 0; at < text.length; at++) {
    const digit = BASE64URL.indexOf(text[at]);
    if (digit < 0) throw failure('DataError', 'the key is no base64url');
    bits = ((bits << 6) | digit) & 0xffff;
    held += 6;
    if (held >= 8) bytes[next++] = (bits >> (held -= 8)) & 255;
  }
  return bytes;
}

class CryptoKey {
  #bytes;
  constructor(bytes, hash, extractable, usages) {
    this.#bytes = bytes;
    this.type = 'secret';
    this.extractable = Boolean(extractable);
    this.algorithm = { name: 'HMAC', hash: { name: hash }, length: bytes.length * 8 };
    this.usages = [...usages];
  }
  static bytes(key, usage) {
    if (!(key instanceof CryptoKey)) throw new TypeError('expected a CryptoKey');
    if (usage !== undefined && !key.usages.includes(usage)) throw failure('InvalidAccessError', `the key is not for ${usage}`);
    return key.#bytes;
  }
}

const mac = (key, usage, data) =>
  native.hmac(hashOf(key.algorithm.hash), CryptoKey.bytes(key, usage).buffer, [bytesOf(data).buffer], 'binary');

const subtle = {
  async digest(algorithm, data) {
    return native.hash(hashOf(algorithm), [bytesOf(data).buffer], 'binary');
  },
  async generateKey(algorithm, extractable, usages) {
    onlyHmac(algorithm, 'a key');
    const hash = hashOf(algorithm.hash);
    const count = algorithm.length === undefined ? BLOCK_BYTES[hash] : Math.ceil(algorithm.length / 8);
    if (!(count > 0 && count <= MAX_KEY_BYTES)) throw failure('OperationError', 'the length of the key makes no sense');
    return new CryptoKey(new Uint8Array(native.randomBytes(count)), nameOf(algorithm.hash), extractable, usages);
  },
  async importKey(format, data, algorithm, extractable, usages) {
    onlyHmac(algorithm, 'a key');
    hashOf(algorithm.hash);
    if (format !== 'raw' && format !== 'jwk') throw failure('NotSupportedError', `the format ${format} is not supported, raw and jwk are`);
    if (format === 'jwk' && (data?.kty !== 'oct' || typeof data.k !== 'string')) throw failure('DataError', 'the key is no symmetric one');
    const bytes = format === 'raw' ? bytesOf(data) : decode(data.k);
    if (bytes.length === 0) throw failure('DataError', 'the key is empty');
    return new CryptoKey(bytes, nameOf(algorithm.hash), extractable, usages);
  },
  async exportKey(format, key) {
    const bytes = CryptoKey.bytes(key);
    if (!key.extractable) throw failure('InvalidAccessError', 'the key may not be exported');
    if (format === 'raw') return bytes.slice().buffer;
    if (format !== 'jwk') throw failure('NotSupportedError', `the format ${format} is not supported, raw and jwk are`);
    const alg = 'HS' + key.algorithm.hash.name.slice(4);
    return { kty: 'oct', k: encode(bytes), alg, ext: true, key_ops: [...key.usages] };
  },
  async sign(algorithm, key, data) {
    onlyHmac(algorithm, 'signing');
    return mac(key, 'sign', data);
  },
  async verify(algorithm, key, signature, data) {
    onlyHmac(algorithm, 'verifying');
    const [given, own] = [bytesOf(signature), new Uint8Array(mac(key, 'verify', data))];
    return given.length === own.length && given.every((byte, at) => byte === own[at]);
  },
};
for (const name of ['encrypt', 'decrypt', 'deriveKey', 'deriveBits', 'wrapKey', 'unwrapKey']) {
  subtle[name] = async () => { throw failure('NotSupportedError', `crypto.subtle.${name} is not supported`); };
}

export const crypto = {
  subtle,
  getRandomValues(array) {
    if (!ArrayBuffer.isView(array) || array instanceof DataView || /Float/.test(array.constructor.name)) {
      throw failure('TypeMismatchError', 'expected an array of integers');
    }
    if (array.byteLength > MAX_RANDOM_BYTES) throw failure('QuotaExceededError', `more than ${MAX_RANDOM_BYTES} bytes`);
    if (array.byteLength > 0) {
      new Uint8Array(array.buffer, array.byteOffset, array.byteLength).set(new Uint8Array(native.randomBytes(array.byteLength)));
    }
    return array;
  },
  randomUUID() {
    const bytes = new Uint8Array(native.randomBytes(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = native.hexEncode(bytes.buffer);
    return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
  },
};
export default { crypto };
