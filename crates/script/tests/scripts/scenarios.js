import http from 'k6/http';
import exec from 'k6/execution';
import { check } from 'k6';

export const options = {
  scenarios: {
    shared: { executor: 'shared-iterations', vus: 3, iterations: 7, exec: 'shared', env: { WHO: 'shared' } },
    each: { executor: 'per-vu-iterations', vus: 2, iterations: 3, exec: 'each', tags: { my: 'tag' }, startTime: '100ms' },
    rate: { executor: 'constant-arrival-rate', rate: 50, duration: '400ms', preAllocatedVUs: 4, exec: 'rate' },
    ramp: {
      executor: 'ramping-arrival-rate', startRate: 10, timeUnit: '1s', preAllocatedVUs: 4, maxVUs: 8, exec: 'rate',
      stages: [{ duration: '400ms', target: 50 }],
    },
  },
  thresholds: {
    'http_reqs{scenario:shared}': ['count==7'],
    'http_reqs{scenario:each}': ['count==6'],
    'http_reqs{my:tag}': ['count==6'],
    'iterations{scenario:rate}': ['count>=19', 'count<=21'],
    checks: ['rate==1'],
  },
};

export function shared() {
  http.get(`${__ENV.URL}/ok`);
  check(exec.scenario, {
    'it has its name': (s) => s.name === 'shared' && s.executor === 'shared-iterations' && s.iterationInTest < 7,
    'and its env': () => __ENV.WHO === 'shared',
  });
}

export function each() {
  http.get(`${__ENV.URL}/ok`);
  check(exec.vu, { 'iterations count': (vu) => vu.iterationInScenario < 3 && vu.idInTest >= 1 });
}

export function rate() {
  http.get(`${__ENV.URL}/ok`);
}
