import http from 'k6/http';
import { check } from 'k6';

export const options = { userAgent: 'tester/1', discardResponseBodies: true };

export default function () {
  const response = http.get(`${__ENV.URL}/echo`, { responseType: 'text', headers: { 'X-A': 1 } });
  check(response, {
    'names are canonical': (r) => r.headers['X-Test-Header'] === 'one' && r.headers['Content-Type'] === 'application/json',
    'agent': (r) => r.json('headers.user-agent') === 'tester/1' && r.json('headers.x-a') === '1',
    'text': (r) => r.status_text === '200 OK' && r.proto === 'HTTP/1.1' && r.remote_ip === '127.0.0.1' && r.remote_port > 0,
    'timings': (r) => r.timings.duration >= r.timings.waiting && r.timings.waiting > 0,
    'as JSON': (r) => JSON.parse(JSON.stringify(r)).status === 200 && JSON.stringify(r).includes('"X-Test-Header":"one"'),
  });
  check(http.get(`${__ENV.URL}/ok`), { discarded: (r) => r.body === null });
  check(http.post(`${__ENV.URL}/echo`, 'squeezed', { compression: 'gzip', responseType: 'text' }), {
    compressed: (r) => r.json('headers.content-encoding') === 'gzip' && r.json('length') > 10,
  });
}
