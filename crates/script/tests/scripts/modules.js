import { double, greet } from './lib/math.js';
import helper from './lib/helper';
import { check } from 'k6';

export default function () {
  check(null, { math: () => double(2) === 4, typed: () => helper.kind === 'b' && greet('x') === 'hello x' });
}
