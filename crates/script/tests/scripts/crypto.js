import crypto, { sha256, createHash } from 'k6/crypto';
import { check } from 'k6';

export default function () {
  const hasher = createHash('sha1');
  hasher.update('hello ');
  hasher.update('world');
  check(null, {
    md5: () => crypto.md5('hello world!', 'hex') === 'fc3ff98e8c6a0d3087d515c0473f8677',
    sha256: () => sha256('hello world!', 'base64') === 'dQnlvaDHYtK6x/kNdYtbImP6ksaVGXNh2B1EqPGZ1TU=' || sha256('hello world!', 'hex').length === 64,
    parts: () => hasher.digest('hex') === '2aae6c35c94fcfb415dbe95f408b9ce91ee846ed',
    hmac: () => crypto.hmac('sha256', 'key', 'The quick brown fox jumps over the lazy dog', 'hex')
      === 'f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8',
    binary: () => crypto.sha256('x', 'binary').byteLength === 32,
    random: () => crypto.randomBytes(7).byteLength === 7,
  });
}
