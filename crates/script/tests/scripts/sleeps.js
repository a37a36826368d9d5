import { sleep, check, randomSeed } from 'k6';
import http from 'k6/http';

export const options = { vus: 20, duration: '500ms' };

randomSeed(42);
const first = Math.random();

export default function () {
  http.get(`${__ENV.URL}/ok`);
  sleep(0.1);
  check(first, { 'chance is the same for all': (n) => n === first && n > 0 && n < 1 });
}
