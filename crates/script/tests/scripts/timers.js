import { setTimeout as later, clearTimeout } from 'k6/timers';
import { check } from 'k6';

export const options = { iterations: 2 };

export default async function () {
  let ticks = 0;
  const repeated = setInterval(() => { ticks += 1; }, 5);
  const never = later(() => { throw new Error('cleared'); }, 1);
  clearTimeout(never);
  await new Promise((done) => { later(done, 40); });
  clearInterval(repeated);
  check(ticks, { 'it ticked': (n) => n >= 2 });
}
