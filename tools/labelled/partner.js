'use strict';
// What the services call: any path, with the latency and the failures that its query asks for.
// ms: delay; spread: up to so much more; status: answered; fail, code: so many first tries by path fail;
// hang: so many first tries by path hang; after: a job is done after so many looks.
const http = require('node:http');

const seen = new Map();
const LIMIT = 100_000;

function count(key) {
  if (seen.size > LIMIT) seen.clear();
  const n = (seen.get(key) || 0) + 1;
  seen.set(key, n);
  return n;
}

// A quick deterministic number below 1.
let state = 42;
function chance() {
  state = (state * 1103515245 + 12345) % 2147483648;
  return state / 2147483648;
}

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://partner');
  const number = (name, otherwise) => Number(url.searchParams.get(name) || otherwise);
  let status = number('status', 200);
  let ms = number('ms', 1) + number('spread', 0) * chance();
  const body = { path: url.pathname, next: Math.floor(chance() * 1e6) };
  const fail = number('fail', 0);
  if (fail > 0 && count(url.pathname) % (fail + 1) !== 0) status = number('code', 503);
  const hang = number('hang', 0);
  if (hang > 0 && count(url.pathname) % (hang + 1) !== 0) ms = 400;
  const after = number('after', 0);
  if (after > 0) body.state = count(url.pathname) < after ? 'running' : 'done';
  request.resume();
  setTimeout(() => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  }, ms);
});
server.keepAliveTimeout = 60_000;
server.listen(Number(process.env.PORT), '127.0.0.1');
process.on('SIGTERM', () => process.exit(0));
