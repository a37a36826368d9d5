import http from 'k6/http';
import { check } from 'k6';

export const options = { thresholds: { http_req_failed: ['rate==0.25'] } };

http.setResponseCallback(http.expectedStatuses({ min: 200, max: 299 }, 404));

export default function () {
  http.get(`${__ENV.URL}/status/404`);
  http.get(`${__ENV.URL}/status/200`);
  http.get(`${__ENV.URL}/status/500`, { responseCallback: http.expectedStatuses(500) });
  const bad = http.get(`${__ENV.URL}/status/400`);
  http.get(`${__ENV.URL}/status/500`, { responseCallback: null });
  check(bad, { 'codes are k6s': (r) => r.error_code === 1400 && r.error === '' });
}
