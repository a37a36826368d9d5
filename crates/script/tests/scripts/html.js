import http from 'k6/http';
import { check } from 'k6';
import { parseHTML } from 'k6/html';

export default function () {
  const res = http.get(`${__ENV.URL}/page`);
  const doc = res.html();
  const items = doc.find('#top li');
  const order = doc.find('#order');
  check(res, {
    'title': () => doc.find('head title').text() === 'Shop & more',
    'list': () => items.size() === 3 && items.eq(1).text().trim() === 'two' && items.last().text() === 'three',
    'selector of html()': (r) => r.html('li.x').is('.x'),
    'attributes': () => doc.find('a').attr('href') === '/json?a=1&b=2' && doc.find('a').attr('no', 'none') === 'none',
    'data': () => doc.find('#top').data('items') === 3 && doc.find('#top').data().who.name === 'Ann',
    'each': () => {
      const seen = [];
      items.each((index, element) => { seen.push(index + element.nodeName() + element.textContent().trim()); });
      return seen.join() === '0lione,1litwo,2lithree';
    },
    'map': () => items.map((index, item) => item.text().trim()).join('+') === 'one+two+three',
    'walks': () => items.first().nextAll().size() === 2
      && doc.find('li.x').prev().text().trim() === 'one' && doc.find('li').parent().is('ul') && doc.find('li').closest('div').attr('id') === 'top',
    'filters': () => items.not('.x').size() === 2 && items.filter((i) => i > 0).size() === 2 && items.slice(1).size() === 2 && doc.find('div').has('h1').size() === 1,
    'get': () => items.get(0).nodeName() === 'li' && items.get().length === 3 && items.get(9) === undefined,
    'html': () => doc.find('h1').html() === 'Orders' && doc.find('nothing').html() === '',
    'values': () => order.find('[name=size]').val() === 'm' && order.find('textarea').val() === 'hi' && order.find('input').val() === 'a-1',
    'fields': () => JSON.stringify(order.serializeArray().map((field) => field.name)) === '["sku","token","gift","size","note"]',
    'serialized': () => order.serialize() === 'gift=on&note=hi&size=m&sku=a-1&token=t+1',
    'element': () => doc.find('a').get(0).pathname() === '/json' && doc.find('#top').get(0).children().length === 2,
    'parsed text': () => parseHTML('<p>a<p>b').find('p').size() === 2 && parseHTML(null).find('p').size() === 0,
  });
}
