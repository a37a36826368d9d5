import http from 'k6/http';

export const options = {
  iterations: 3,
  thresholds: { http_req_duration: ['p(95)<0.0001', 'avg<60000'], http_reqs: ['count>2'] },
};

export default function () {
  http.get(`${__ENV.URL}/ok`);
}
