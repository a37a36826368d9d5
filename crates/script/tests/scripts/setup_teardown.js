import http from 'k6/http';
import { check } from 'k6';

export const options = { vus: 2, iterations: 4 };

export function setup() {
  const response = http.get(`${__ENV.URL}/json`);
  return { token: response.json('user.name'), list: [1, 2] };
}

export default function (data) {
  check(data, { 'setup data arrives': (d) => d.token === 'Ann' && d.list.length === 2 });
}

export function teardown(data) {
  if (data.token !== 'Ann') throw new Error('no data');
  http.get(`${__ENV.URL}/ok`);
}

export function handleSummary(data) {
  return {
    stdout: `iterations ${data.metrics.iterations.values.count}, setup ${data.setup_data.token}`,
    'result.json': JSON.stringify({ checks: data.metrics.checks.values.passes }),
  };
}
