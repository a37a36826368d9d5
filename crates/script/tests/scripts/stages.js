import http from 'k6/http';

export const options = {
  stages: [{ duration: '300ms', target: 3 }, { duration: '300ms', target: 3 }, { duration: '200ms', target: 0 }],
  thresholds: { http_req_failed: ['rate==0'], vus_max: ['value>=0'] },
};

export default function () {
  http.get(`${__ENV.URL}/delay/20`);
}
