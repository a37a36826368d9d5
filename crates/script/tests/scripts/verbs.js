import http, { get, del } from 'k6/http';
import { check } from 'k6';

export default function () {
  const url = `${__ENV.URL}/echo`;
  const methods = [
    [get(url), 'GET'], [http.post(url, 'b'), 'POST'], [http.put(url, 'b'), 'PUT'], [http.patch(url, 'b'), 'PATCH'],
    [del(url), 'DELETE'], [http.options(url), 'OPTIONS'], [http.request('PROPFIND', url), 'PROPFIND'],
  ];
  for (const [response, method] of methods) check(response, { [method]: (r) => r.json('method') === method });
  check(http.head(url), { HEAD: (r) => r.status === 200 && r.body === '' });
  check(http.post(url, new Uint8Array([104, 105]).buffer), { bytes: (r) => r.json('body') === 'hi' });
  check(http.get(`${__ENV.URL}/bytes`, { responseType: 'binary' }), {
    binary: (r) => new Uint8Array(r.body)[0] === 255 && r.body.byteLength === 3,
  });
  check(http.get(url, { responseType: 'none' }), { none: (r) => r.body === null });
}
