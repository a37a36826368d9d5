// The global `crypto`: hashes, HMACs, random numbers.
import { check } from 'k6';

const bytes = (text) => new Uint8Array(text.split('').map((c) => c.charCodeAt(0)));
const hex = (buffer) => Array.from(new Uint8Array(buffer)).map((byte) => byte.toString(16).padStart(2, '0')).join('');

export default async function () {
  const digests = [];
  for (const name of ['SHA-1', 'SHA-256', 'SHA-384', { name: 'sha-512' }]) {
    digests.push(hex(await crypto.subtle.digest(name, bytes('abc'))));
  }
  console.log(digests.join(' '));
  const key = await crypto.subtle.importKey('raw', bytes('Jefe'), { name: 'HMAC', hash: 'SHA-256' }, true, ['sign', 'verify']);
  const data = bytes('what do ya want for nothing?');
  const signature = await crypto.subtle.sign('HMAC', key, data);
  console.log(hex(signature), key.type, key.extractable);
  check(await crypto.subtle.verify('HMAC', key, signature, data), { verified: (truth) => truth });
  check(await crypto.subtle.verify('HMAC', key, signature, bytes('other')), { refused: (truth) => !truth });
  const raw = await crypto.subtle.exportKey('raw', key);
  console.log(hex(raw));
  const jwk = await crypto.subtle.exportKey('jwk', key);
  console.log(jwk.kty, jwk.k);
  const again = await crypto.subtle.importKey('jwk', jwk, { name: 'HMAC', hash: { name: 'SHA-256' } }, false, ['sign']);
  console.log(hex(await crypto.subtle.sign({ name: 'HMAC' }, again, data)));
  const made = await crypto.subtle.generateKey({ name: 'HMAC', hash: { name: 'SHA-512' } }, true, ['sign']);
  check(await crypto.subtle.exportKey('raw', made), { 'a block long': (raw) => raw.byteLength === 128 });
  let refusals = 0;
  for (const wrong of [
    () => crypto.subtle.digest('MD5', bytes('a')),
    () => crypto.subtle.verify('HMAC', again, signature, data),
    () => crypto.subtle.exportKey('raw', again),
    () => crypto.subtle.importKey('raw', new Uint8Array(0), { name: 'HMAC', hash: 'SHA-256' }, true, ['sign']),
  ]) {
    try { await wrong(); } catch (error) { refusals += 1; }
  }
  console.log('refused', refusals);
  const random = crypto.getRandomValues(new Uint32Array(8));
  check(random, { random: (all) => all.length === 8 && new Set(all).size > 4 });
  check(crypto.randomUUID(), { uuid: (id) => /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(id) });
}
