import http from 'k6/http';
import exec from 'k6/execution';

export const options = { vus: 1, iterations: 100 };

export default function () {
  http.get(`${__ENV.URL}/ok`);
  if (exec.scenario.iterationInTest === 2) exec.test.abort('enough');
}
