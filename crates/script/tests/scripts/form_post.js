import http from 'k6/http';
import { check } from 'k6';

export default function () {
  const form = http.post(`${__ENV.URL}/echo`, { name: 'Ann B', list: ['1', '2'], amp: 'a&b' }).json();
  check(form, {
    'a form is encoded': (r) => r.body === 'amp=a%26b&list=1&list=2&name=Ann+B',
    'with its type': (r) => r.headers['content-type'] === 'application/x-www-form-urlencoded',
  });
  const file = http.file('file text', 'a.txt', 'text/plain');
  const upload = http.post(`${__ENV.URL}/echo`, { field: 'value', upload: file }).json();
  check(upload, {
    'a file makes it multipart': (r) => r.headers['content-type'].startsWith('multipart/form-data; boundary='),
    'with all parts': (r) => r.body.includes('name="upload"; filename="a.txt"') && r.body.includes('file text')
      && r.body.includes('name="field"'),
  });
}
