// Offline counterpart of jslib's k6-utils.
import { randomBytes } from 'k6/crypto';
import { group } from 'k6';

export function randomIntBetween(min, max) {
  return Math.floor(Math.random() * (max - min + 1) + min);
}

export function randomItem(list) {
  return list[Math.floor(Math.random() * list.length)];
}

export function randomString(length, charset = 'abcdefghijklmnopqrstuvwxyz') {
  let text = '';
  while (length-- > 0) text += charset[Math.floor(Math.random() * charset.length)];
  return text;
}

export function uuidv4(secure = false) {
  const bytes = secure
    ? new Uint8Array(randomBytes(16))
    : Uint8Array.from({ length: 16 }, () => Math.floor(Math.random() * 256));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

export function findBetween(content, left, right, repeat = false) {
  const found = [];
  let from = 0;
  for (;;) {
    const start = content.indexOf(left, from);
    if (start === -1) break;
    const begin = start + left.length;
    const end = content.indexOf(right, begin);
    if (end === -1) break;
    if (!repeat) return content.slice(begin, end);
    found.push(content.slice(begin, end));
    from = end + right.length;
  }
  return repeat ? found : null;
}

export function normalDistributionStages(maxVus, durationSeconds, numberOfStages = 10) {
  const density = (x) => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
  const peak = density(0);
  const stages = [{ duration: '0s', target: 0 }];
  for (let i = 0; i <= numberOfStages; i++) {
    const x = -2 + (4 * i) / numberOfStages;
    stages.push({
      duration: `${Math.ceil(durationSeconds / (numberOfStages + 2))}s`,
      target: Math.ceil((maxVus * density(x)) / peak),
    });
  }
  stages.push({ duration: `${Math.ceil(durationSeconds / (numberOfStages + 2))}s`, target: 0 });
  return stages;
}

export function getCurrentStageIndex() {
  throw new Error('getCurrentStageIndex is not supported');
}

export function describe(name, run) {
  let passed = true;
  group(name, () => {
    try { run(); } catch (error) { passed = false; console.error(error); }
  });
  return passed;
}

export default { randomIntBetween, randomItem, randomString, uuidv4, findBetween, normalDistributionStages, describe };
