import http from 'k6/http';
import { check } from 'k6';

export const options = { iterations: 2 };

export default function () {
  const before = http.get(`${__ENV.URL}/cookies`);
  check(before, { 'an iteration begins without cookies': (r) => r.body === '' });
  const set = http.get(`${__ENV.URL}/set-cookie/sid`);
  check(set, { 'the response shows them': (r) => r.cookies.sid[0].value === 'yes' && r.cookies.sid[0].http_only });
  const jar = http.cookieJar();
  jar.set(__ENV.URL, 'own', 'mine');
  check(jar.cookiesForURL(__ENV.URL), { 'the jar holds both': (c) => c.sid[0] === 'yes' && c.own[0] === 'mine' });
  const after = http.get(`${__ENV.URL}/cookies`, { cookies: { sid: 'other', once: '1' } });
  check(after, {
    'they are sent': (r) => r.body.includes('own=mine'),
    'params win': (r) => r.body.includes('sid=other') && r.body.includes('once=1'),
  });
  const apart = new http.CookieJar();
  apart.set(__ENV.URL, 'apart', '1');
  check(http.get(`${__ENV.URL}/cookies`, { jar: apart }), { 'another jar': (r) => r.body === 'apart=1' });
  jar.clear(__ENV.URL);
  check(http.get(`${__ENV.URL}/cookies`), { 'cleared': (r) => r.body === '' });
}
