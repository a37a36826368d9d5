import http from 'k6/http';
import { check } from 'k6';

export const options = { maxRedirects: 4 };

export default function () {
  check(http.get(`${__ENV.URL}/redirect/3`), {
    'followed': (r) => r.body === 'arrived' && r.url === `${__ENV.URL}/redirect/0`,
  });
  check(http.get(`${__ENV.URL}/redirect/3`, { redirects: 1 }), {
    'as far as asked': (r) => r.status === 302 && r.url === `${__ENV.URL}/redirect/2`,
  });
  check(http.get(`${__ENV.URL}/redirect/3`, { redirects: 0 }), { 'or not': (r) => r.headers.Location === '/redirect/2' });
  check(http.get(`${__ENV.URL}/circle`), { 'a circle ends': (r) => r.status === 302 });
  check(http.post(`${__ENV.URL}/redirect/1`, 'x'), { 'a post becomes a get': (r) => r.body === 'arrived' && r.request.method === 'POST' });
}
