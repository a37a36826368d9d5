// What a script can read of k6's objects, line by line: each line must be k6's.
import http from 'k6/http';
import crypto from 'k6/crypto';
import exec from 'k6/execution';
import { parseHTML } from 'k6/html';
import { Counter } from 'k6/metrics';

const counter = new Counter('counted');

export const options = {
  scenarios: {
    one: { executor: 'per-vu-iterations', vus: 1, iterations: 1, exec: 'one', env: { OF: 'one' }, maxDuration: '20s' },
    two: { executor: 'per-vu-iterations', vus: 1, iterations: 1, exec: 'two', startTime: '3s', maxDuration: '20s' },
  },
  tags: { all: 'yes' },
};

const ordered = (value) => {
  if (value === null || typeof value !== 'object') return value === undefined ? 'undefined' : value;
  if (Array.isArray(value)) return value.map(ordered);
  return Object.keys(value).sort().map((key) => [key, ordered(value[key])]);
};
function tell(what, read) {
  let value;
  try { value = read(); } catch (error) { value = 'thrown'; }
  console.log(`${what} = ${JSON.stringify(ordered(value))}`);
}
const brief = (r) => [r.status, r.status_text, r.body, r.error_code];

export function one() {
  const url = __ENV.URL;
  const json = http.get(`${url}/json`);
  for (const path of ['user.name', 'user.tags.#', 'user.tags.@reverse', 'user.@keys', '[count,user.name]',
    '{count,"n":user.name}', 'user.tags|0', 'us*.name', 'nothing', 'user.tags.-1', '@this.count']) {
    tell(`json ${path}`, () => json.json(path));
  }
  tell('no JSON at a path', () => http.get(`${url}/ok`).json('a'));
  for (const status of [200, 204, 301, 304, 404, 503]) tell(`status ${status}`, () => brief(http.get(`${url}/status/${status}`)));
  tell('response type', () => http.get(`${url}/ok`, { responseType: 'other' }).status);
  tell('no text', () => [http.get(5).error_code, http.get(null).error_code, http.get(undefined).error_code]);
  tell('bad method', () => brief(http.request('B AD', `${url}/ok`)));
  tell('bad header', () => brief(http.get(`${url}/ok`, { headers: { 'a b': 'x' } })));
  tell('body of a number', () => http.post(`${url}/ok`, 5).status);
  tell('body of a list', () => http.post(`${url}/ok`, [1, 2]).status);
  tell('TLS to plain', () => brief(http.get(url.replace('http:', 'https:'))));
  const jar = new http.CookieJar();
  jar.set(url, 'own', '1');
  tell('cookies beside', () => http.get(`${url}/cookies`, { jar, cookies: { own: '2', p: 'q' } }).body.split('; ').sort());
  tell('cookies in place', () => http.get(`${url}/cookies`, { jar, cookies: { own: { value: '2', replace: true } } }).body);
  tell('cookies of the request', () => http.get(`${url}/ok`, { jar, cookies: { p: 'q' } }).request.cookies);
  const page = parseHTML('<ul><li>a<li class=x>b<li>c</ul><p>d<p>e');
  tell('siblings', () => page.find('li.x').siblings().map((at, one) => one.text()));
  tell('index', () => [page.find('p').index(), page.find('li.x').index(), page.find('li').index(page.find('.x'))]);
  tell('add', () => [page.find('li').add('p').size(), page.find('li').add(page.find('p').first()).size()]);
  tell('links', () => http.get(`${url}/page`).html().find('a').get(0).href().replace(url, ''));
  tell('hashes', () => ['md4', 'md5', 'ripemd160', 'sha1', 'sha256', 'sha384', 'sha512', 'sha512_224', 'sha512_256']
    .map((name) => [crypto[name]('a', 'hex'), crypto.hmac(name, 'k', 'a', 'base64')]));
  tell('added', () => [null, true, '2', 'x', undefined, 1.5].map((value) => counter.add(value)));
  tell('tags', () => exec.vu.metrics.tags);
  tell('options', () => [exec.test.options.tags, Object.keys(exec.test.options.scenarios)]);
  tell('env', () => __ENV.OF);
  console.log(Symbol('a symbol'));
}

export function two() {
  tell('env of the next scenario', () => __ENV.OF);
}
