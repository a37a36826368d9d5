import { randomIntBetween, randomItem, randomString, uuidv4, findBetween } from 'https://jslib.k6.io/k6-utils/1.4.0/index.js';
import { textSummary, jUnit } from 'https://jslib.k6.io/k6-summary/0.0.2/index.js';
import { URL, URLSearchParams } from 'https://jslib.k6.io/url/1.0.0/index.js';
import { FormData } from 'https://jslib.k6.io/formdata/0.0.2/index.js';
import { Httpx } from 'https://jslib.k6.io/httpx/0.1.0/index.js';
import http from 'k6/http';
import { check } from 'k6';

export const options = { thresholds: { checks: ['rate==1'] } };

export default function () {
  const n = randomIntBetween(3, 5);
  const url = new URL('../b?x=1', `${__ENV.URL}/a/c`);
  url.searchParams.append('y', 'a b');
  const form = new FormData();
  form.append('name', 'Ann');
  form.append('file', http.file('text', 'a.txt'));
  const sent = http.post(`${__ENV.URL}/echo`, form.body(), {
    headers: { 'Content-Type': `multipart/form-data; boundary=${form.boundary}` },
  });
  const session = new Httpx({ baseURL: __ENV.URL, headers: { 'X-Own': '1' } });
  check(null, {
    random: () => n >= 3 && n <= 5 && randomString(8).length === 8 && ['a', 'b'].includes(randomItem(['a', 'b'])),
    uuid: () => /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(uuidv4()),
    between: () => findBetween('<b>x</b>', '<b>', '</b>') === 'x',
    url: () => url.toString() === `${__ENV.URL}/b?x=1&y=a+b` && url.pathname === '/b',
    params: () => new URLSearchParams({ a: '1', b: 'c d' }).toString() === 'a=1&b=c+d',
    form: () => sent.json('body').includes('name="file"; filename="a.txt"'),
    httpx: () => session.get('/echo').json('headers.x-own') === '1',
  });
}

export function handleSummary(data) {
  return { stdout: textSummary(data, { indent: ' ' }), 'junit.xml': jUnit(data) };
}
