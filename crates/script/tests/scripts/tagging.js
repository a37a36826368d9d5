import http from 'k6/http';
import exec from 'k6/execution';
import { check } from 'k6';

export const options = {
  iterations: 2,
  tags: { team: 'shop' },
  thresholds: {
    'http_reqs{name:order}': ['count==4'],
    'http_reqs{name:${}/ok?item=${}}': ['count==2'],
    'http_reqs{status:404}': ['count==2'],
    'http_reqs{team:shop}': ['count==10'],
    'http_reqs{own:yes}': ['count==2'],
    'http_reqs{method:GET,expected_response:false}': ['count==2'],
    'http_req_failed{status:404}': ['rate==1'],
    'checks{kind:a}': ['rate==1'],
    'http_reqs{group:::g}': ['count==0'],
  },
};

export default function () {
  for (const id of [1, 2]) http.get(`${__ENV.URL}/status/20${id}`, { tags: { name: 'order' } });
  const item = http.get(http.url`${__ENV.URL}/ok?item=${7}`);
  http.get(`${__ENV.URL}/status/404`);
  check(item, { ok: (r) => r.status === 200 }, { kind: 'a' });
  exec.vu.tags.own = 'yes';
  http.get(`${__ENV.URL}/ok`);
  check(exec.vu.tags, { 'tags are read': (t) => t.own === 'yes' && t.team === 'shop' });
  delete exec.vu.tags.own;
}
