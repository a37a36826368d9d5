import http from 'k6/http';

export const options = {
  vus: 1,
  duration: '30s',
  thresholds: { http_req_failed: [{ threshold: 'rate<0.1', abortOnFail: true }] },
};

export default function () {
  http.get(`${__ENV.URL}/delay/50`);
  http.get(`${__ENV.URL}/status/500`);
}
