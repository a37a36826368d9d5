import http from 'k6/http';
import { check, group, fail } from 'k6';

export const options = { vus: 2, iterations: 6 };

export default function () {
  const name = group('shop', () => {
    const response = http.get(`${__ENV.URL}/json`);
    check(response, { 'is 200': (r) => r.status === 200 });
    group('cart', () => {
      check(response, { 'has tags': (r) => r.json('user.tags.#') === 2, 'never': () => false });
    });
    return response.json('user.name');
  });
  if (!check(name, { 'groups return': (n) => n === 'Ann' })) fail('no name');
}
