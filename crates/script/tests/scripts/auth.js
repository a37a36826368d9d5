import http from 'k6/http';
import encoding from 'k6/encoding';
import { check } from 'k6';

export default function () {
  const withUser = (path) => `${__ENV.URL.replace('://', '://ann:secret@')}${path}`;
  const basic = http.get(withUser('/basic'));
  check(basic, { 'basic by URL': (r) => r.status === 200 });
  const shown = JSON.stringify(http.get(withUser('/ok')).request.headers);
  check(shown, { 'headers show no password': (text) => !text.includes('secret') });
  const header = { Authorization: `Basic ${encoding.b64encode('ann:secret')}` };
  check(http.get(`${__ENV.URL}/basic`, { headers: header }), { 'basic by header': (r) => r.status === 200 });
  check(http.get(withUser('/digest'), { auth: 'digest' }), { digest: (r) => r.status === 200 });
}
