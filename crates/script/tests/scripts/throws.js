import http from 'k6/http';

export const options = { vus: 2, iterations: 6 };

export default function () {
  http.get(`${__ENV.URL}/ok`);
  if (__VU === 1) {
    null.missing();
  }
}
