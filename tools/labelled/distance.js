'use strict';
// A network between a service and its stores: forwards bytes, each a moment later. node distance.js MS FROM:TO ...
const net = require('node:net');

const [ms, ...routes] = process.argv.slice(2);

function forward(from, to) {
  from.on('data', (bytes) => setTimeout(() => to.writable && to.write(bytes), Number(ms)));
  from.on('end', () => setTimeout(() => to.end(), Number(ms)));
  from.on('error', () => to.destroy());
  from.on('close', () => setTimeout(() => to.destroy(), Number(ms)));
}

for (const route of routes) {
  const [from, to] = route.split(':').map(Number);
  net.createServer((near) => {
    const far = net.connect({ port: to, host: '127.0.0.1', noDelay: true });
    near.setNoDelay(true);
    forward(near, far);
    forward(far, near);
  }).listen(from, '127.0.0.1');
}
