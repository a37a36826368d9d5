import http from 'k6/http';
import { check, sleep } from 'k6';

export const options = { vus: 2, iterations: 4 };

async function fetchJson(path) {
  const response = await http.asyncRequest('GET', `${__ENV.URL}${path}`);
  sleep(0.01);
  return response.json();
}

export default async function () {
  const [a, b] = await Promise.all([fetchJson('/json'), fetchJson('/echo?x=1')]);
  check(null, { both: () => a?.user?.name === 'Ann' && b.query === 'x=1' });
  try {
    await Promise.reject(new Error('caught'));
  } catch (error) {
    check(error, { caught: (e) => e.message === 'caught' });
  }
}
