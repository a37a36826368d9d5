import crypto from 'k6/crypto';
import encoding from 'k6/encoding';
import { check } from 'k6';

const encode = (value) => encoding.b64encode(JSON.stringify(value), 'rawurl');
const sign = (data, secret) => {
  const hasher = crypto.createHMAC('sha256', secret);
  hasher.update(data);
  return hasher.digest('base64').replace(/\//g, '_').replace(/\+/g, '-').replace(/=/g, '');
};

export default function () {
  const head = encode({ typ: 'JWT', alg: 'HS256' });
  const token = [head, encode({ key: 'value' })].join('.');
  const whole = `${token}.${sign(token, 'secret')}`;
  const [h, p, s] = whole.split('.');
  check(whole, {
    signed: () => sign(`${h}.${p}`, 'secret') === s && sign(`${h}.${p}`, 'other') !== s,
    decoded: () => JSON.parse(encoding.b64decode(p, 'rawurl', 's')).key === 'value',
  });
}
