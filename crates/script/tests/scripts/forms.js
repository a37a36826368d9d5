import http from 'k6/http';
import { check } from 'k6';

export default function () {
  const page = http.get(`${__ENV.URL}/page`);
  const sent = page.submitForm({ formSelector: '#order', fields: { note: 'mine', more: 'yes' } });
  check(sent, {
    'posted': (r) => r.json('method') === 'POST' && r.request.method === 'POST',
    'fields': (r) => r.json('body') === 'gift=on&go=Buy&more=yes&note=mine&size=m&sku=a-1&token=t+1',
    'type': (r) => r.json('headers.content-type') === 'application/x-www-form-urlencoded',
    'action': (r) => r.json('query') === 'kept=no',
  });
  const found = page.submitForm({ formSelector: '#search', fields: { q: 'a b' }, params: { tags: { my: 'tag' } } });
  check(found, { 'a form without method is got': (r) => r.json('method') === 'GET' && r.json('query') === 'q=a+b' });
  const linked = page.clickLink({ selector: 'a:contains("link")' });
  check(linked, { 'link': (r) => r.url.endsWith('/json?a=1&b=2') && r.json('count') === 2 });
  let told = '';
  try { page.submitForm({ formSelector: '#none' }); } catch (error) { told = String(error); }
  check(told, { 'no form': (text) => text.includes('no form found') });
}
