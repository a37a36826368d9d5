const native = globalThis.__trimtab.crypto;

class Hasher {
  constructor(finish) {
    this.finish = finish;
    this.parts = [];
  }
  update(part) {
    this.parts.push(part);
    return this;
  }
  digest(encoding = 'hex') {
    return this.finish(this.parts, encoding);
  }
}

const hash = (name) => (input, encoding = 'hex') => native.hash(name, [input], encoding);
export const md4 = hash('md4');
export const md5 = hash('md5');
export const ripemd160 = hash('ripemd160');
export const sha1 = hash('sha1');
export const sha256 = hash('sha256');
export const sha384 = hash('sha384');
export const sha512 = hash('sha512');
export const sha512_224 = hash('sha512_224');
export const sha512_256 = hash('sha512_256');
export const hmac = (name, key, input, encoding = 'hex') => native.hmac(name, key, [input], encoding);
export const { randomBytes, hexEncode } = native;

export function createHash(name) {
  native.known(name);
  return new Hasher((parts, encoding) => native.hash(name, parts, encoding));
}

export function createHMAC(name, key) {
  native.known(name);
  return new Hasher((parts, encoding) => native.hmac(name, key, parts, encoding));
}

export default {
  md4, md5, ripemd160, sha1, sha256, sha384, sha512, sha512_224, sha512_256, hmac, createHash, createHMAC, randomBytes,
  hexEncode,
};
