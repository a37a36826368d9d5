import http from 'k6/http';
import { check } from 'k6';

export default function () {
  const query = `query Find($name: String!) { user(name: $name) { id } }`;
  const headers = { Authorization: 'Bearer abc', 'Content-Type': 'application/json' };
  const response = http.post(`${__ENV.URL}/echo`, JSON.stringify({ query, variables: { name: 'Ann' } }), { headers });
  check(response.json(), {
    'the body arrives': (r) => JSON.parse(r.body).variables.name === 'Ann',
    'headers arrive': (r) => r.headers.authorization === 'Bearer abc' && r.headers['content-type'] === 'application/json',
    'a trace parent is sent': (r) => /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/.test(r.headers.traceparent),
  });
}
