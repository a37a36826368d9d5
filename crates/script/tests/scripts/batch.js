import http from 'k6/http';
import { check } from 'k6';

export default function () {
  const list = http.batch([
    ['GET', `${__ENV.URL}/ok`, null, { tags: { name: 'one' } }],
    { method: 'POST', url: `${__ENV.URL}/echo`, body: 'x' },
    `${__ENV.URL}/json`,
  ]);
  check(list, {
    'in order': (l) => l.length === 3 && l[0].body === 'fine' && l[1].json('body') === 'x' && l[2].json('count') === 2,
  });
  const named = http.batch({ a: `${__ENV.URL}/status/204`, b: ['GET', `${__ENV.URL}/status/404`] });
  check(named, { 'by name': (n) => n.a.status === 204 && n.b.status === 404 });
  const start = Date.now();
  http.batch(Array.from({ length: 6 }, () => ['GET', `${__ENV.URL}/delay/100`]));
  check(Date.now() - start, { 'side by side': (ms) => ms < 550 });
}
