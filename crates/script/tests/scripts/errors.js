import http from 'k6/http';
import { check } from 'k6';

export default function () {
  const refused = http.get('http://127.0.0.1:1/');
  check(refused, {
    refused: (r) => r.status === 0 && r.error_code === 1212 && r.error.includes('refused') && r.body === null,
  });
  check(http.get(`${__ENV.URL}/delay/2000`, { timeout: '50ms' }), { late: (r) => r.error_code === 1050 });
  check(http.get('http://no-such-host.invalid/'), { unknown: (r) => r.error_code === 1101 });
  let thrown = '';
  try { http.get('http://127.0.0.1:1/', { throw: true }); } catch (e) { thrown = e.message; }
  check(thrown, { thrown: (t) => t.includes('refused') });
  check(http.get('no url'), { 'bad URL': (r) => r.status === 0 && r.error !== '' });
  check(null, { 'no JSON': () => { try { http.get(`${__ENV.URL}/ok`).json(); return false; } catch (e) { return e.message.includes('json'); } } });
}
