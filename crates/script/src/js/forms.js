import { encode, parseHTML } from 'k6/html';
import { get, request } from 'k6/http';

const native = globalThis.__trimtab;
const resolve = native.html.resolve;
const response = native.http.response();

function define(name, value) {
  Object.defineProperty(response, name, { value, writable: true, configurable: true });
}

define('html', function (selector) {
  const page = parseHTML(this.body, this.url);
  return selector === undefined ? page : page.find(selector);
});

define('submitForm', function ({ formSelector = 'form', submitSelector = '[type="submit"]', fields = {}, params } = {}) {
  const form = this.html(formSelector).first();
  if (form.size() === 0) throw new Error(`no form found for selector '${formSelector}' in response '${this.url}'`);
  const method = (form.attr('method') || 'GET').toUpperCase();
  const url = resolve(this.url, form.attr('action') || '');
  const values = form.serializeObject();
  const submit = form.find(submitSelector).first();
  if (submit.attr('name')) values[submit.attr('name')] = submit.val();
  Object.assign(values, fields);
  if (method !== 'GET') return request(method, url, values, params);
  return request('GET', `${url.replace(/[?#].*$/, '')}?${encode(values)}`, null, params);
});

define('clickLink', function ({ selector = 'a[href]', params } = {}) {
  const link = this.html(selector).first();
  if (link.size() === 0) throw new Error(`no element found for selector '${selector}' in response '${this.url}'`);
  const href = link.attr('href');
  if (href === undefined) throw new Error(`no valid href attribute value found on element '${selector}' in response '${this.url}'`);
  return get(resolve(this.url, href), params);
});
