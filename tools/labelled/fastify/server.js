'use strict';
// Boards, bookings and tickets on knex, pg, node-redis and fetch. Each endpoint is one case of labels.toml.
const fastify = require('fastify');
const knexOf = require('knex');
const { Pool } = require('pg');
const { createClient } = require('redis');
const { trace } = require('@opentelemetry/api');

const url = process.env.DATABASE_URL;
const partner = process.env.PARTNER_URL;
const lag = Number(process.env.LAG_S || 0) * 1000;
const knex = knexOf({ client: 'pg', connection: url, pool: { min: 8, max: 20 } });
const narrow = new Pool({ connectionString: url, max: 2 });
const cache = createClient({ url: process.env.REDIS_URL });
const tracer = trace.getTracer('boards');
const app = fastify();

const json = async (path, options) => (await fetch(partner + path, options)).json();
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const within = (name, work) => tracer.startActiveSpan(name, async (span) => {
  try { return await work(); } finally { span.end(); }
});

app.get('/health', async () => ({ ok: true }));

app.get('/boards/:id/cards', async (req) => {
  const orders = await knex('orders').where({ customer_id: req.params.id }).select('id', 'status');
  for (const order of orders) {
    order.items = await knex('items').where({ order_id: order.id }).select('product_id', 'quantity');
  }
  return orders;
});

app.get('/boards/:id/cards-at-once', async (req) => {
  const orders = await knex('orders').where({ customer_id: req.params.id }).select('id', 'status');
  const items = await knex('items').whereIn('order_id', orders.map((order) => order.id)).select('order_id', 'product_id');
  return { orders: orders.length, items };
});

app.get('/teams/:id/avatars', async (req) => {
  const found = [];
  for (let n = 1; n <= 8; n++) found.push((await json(`/avatars/${Number(req.params.id) * 10 + n}?ms=7`)).path);
  return found;
});

app.get('/search/:word', async (req) => {
  const sources = ['books', 'films', 'songs', 'places'];
  return Promise.all(sources.map((source) => json(`/${source}/search?q=${req.params.word}&ms=30&spread=10`)));
});

app.post('/boards/:id/import', async (req) => {
  await knex.transaction(async (tx) => {
    for (let n = 0; n < 18; n++) {
      await tx('events').insert({ kind: 'card', customer_id: req.params.id, payload: `n${n}` });
    }
  });
  return { kept: 18 };
});

app.post('/boards/:id/import-in-batches', async (req) => {
  const rows = Array.from({ length: 240 }, (_, n) => ({ kind: 'card', customer_id: req.params.id, payload: `n${n}` }));
  await knex.batchInsert('events', rows, 80);
  return { kept: 240 };
});

app.post('/bookings/:id', async (req) => {
  await knex.transaction(async (tx) => {
    await tx('stock').where({ product_id: req.params.id }).decrement('quantity', 1);
    await json(`/seats/${req.params.id}?ms=35`, { method: 'POST' });
    await tx('audit').insert({ what: 'booked', customer_id: 7 });
  });
  return { ok: true };
});

app.post('/bookings/:id/after', async (req) => {
  await json(`/seats/${req.params.id}?ms=35`, { method: 'POST' });
  await knex.transaction(async (tx) => {
    await tx('stock').where({ product_id: req.params.id }).decrement('quantity', 1);
    await tx('audit').insert({ what: 'booked', customer_id: 7 });
  });
  return { ok: true };
});

app.post('/tickets/:name', async (req) => {
  await knex.transaction(async (tx) => {
    await tx('counters').where({ name: `counter ${req.params.name}` }).forUpdate().first();
    await tx.raw('SELECT count(*), pg_sleep(0.02) FROM reviews WHERE product_id = ?', [3]);
    await tx('counters').where({ name: `counter ${req.params.name}` }).increment('value', 1);
  });
  return { ok: true };
});

app.post('/workers/next', async () => {
  await knex.transaction(async (tx) => {
    const [job] = await tx('jobs').where({ state: 'ready' }).orderBy('id').limit(1).forUpdate().skipLocked();
    await tx.raw('SELECT count(*), pg_sleep(0.02) FROM reviews WHERE product_id = ?', [3]);
    await tx('jobs').where({ id: job.id }).update({ state: 'done' });
  });
  return { ok: true };
});

app.get('/sessions/:id', async (req) => {
  const own = await createClient({ url: process.env.REDIS_URL }).connect();
  const found = await own.get(`session:${req.params.id}`);
  await own.close();
  return { found };
});

app.get('/sessions/:id/kept', async (req) => ({ found: await cache.get(`session:${req.params.id}`) }));

app.get('/reports/:category', async (req) =>
  (await narrow.query('SELECT count(*), pg_sleep(0.05) FROM reviews WHERE product_id = $1', [req.params.category])).rows);

app.get('/quotes/:id', async (req) => {
  const [product] = await knex('products').where({ id: req.params.id }).select('name');
  return { product, quote: await json(`/insurers/${req.params.id}?ms=120&spread=60`) };
});

app.get('/weather/:id', async (req, reply) => {
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      return await json(`/forecast/${req.params.id}-${Math.floor(Date.now() / 1e4)}?ms=6&hang=1`, { signal: AbortSignal.timeout(50) });
    } catch { /* the next try */ }
  }
  return reply.code(504).send({ error: 'late' });
});

app.get('/couriers/:id', async (req, reply) => {
  for (const courier of ['north', 'south', 'west']) {
    const answer = await fetch(`${partner}/${courier}/offers/${req.params.id}?ms=12&status=${courier === 'west' ? 200 : 404}`);
    await answer.arrayBuffer();
    if (answer.ok) return { courier };
  }
  return reply.code(404).send({});
});

app.get('/profiles/:id', async (req) => {
  const user = await json(`/users/${req.params.id}?ms=20`);
  const badges = await json(`/badges/${req.params.id}?ms=25`);
  const teams = await json(`/memberships/${req.params.id}?ms=22`);
  return { user, badges, teams };
});

app.get('/profiles/:id/together', async (req) => {
  const { id } = req.params;
  return Promise.all([json(`/users/${id}?ms=20`), json(`/badges/${id}?ms=25`), json(`/memberships/${id}?ms=22`)]);
});

app.get('/themes/:id', async (req) => {
  const theme = await json('/themes/current?ms=22');
  const [member] = await knex('customers').where({ id: req.params.id }).select('name');
  return { theme, member };
});

app.get('/inboxes/:id', async (req) => {
  const mail = await json(`/inbox/${req.params.id}?ms=22`);
  const [member] = await knex('customers').where({ id: req.params.id }).select('name');
  return { mail, member };
});

app.post('/cards/:id/move', async (req) => {
  await knex('orders').where({ id: req.params.id }).update({ status: 'moved' });
  await json('/hooks/webhook?ms=45', { method: 'POST' });
  return { ok: true };
});

app.get('/notifications/:id', async (req) => {
  const unread = await json(`/notifications/${req.params.id}?ms=35`);
  return { unread };
});

app.get('/labels/:id', async (req) => {
  const answer = await fetch(`${process.env.PRINTER_URL}/print/${req.params.id}`);
  return answer.json();
});

app.get('/rankings/:n', async (req) => {
  await cache.get(`ranking:${req.params.n}`);
  let state = Number(req.params.n);
  const values = Array.from({ length: 120_000 }, () => (state = (state * 1103515245 + 12345) % 2147483648));
  values.sort((a, b) => a - b);
  return { median: values[60_000] };
});

app.get('/stock/:id', async (req) => {
  await cache.get(`stock:${req.params.id}`);
  return (await knex('stock').where({ product_id: req.params.id }).select('quantity'))[0];
});

app.get('/catalogue/:page', async (req) =>
  knex('products').orderBy('id').limit(600 + 300 * Number(req.params.page)).select('id', 'name', 'price_cents', 'description'));

app.get('/checks/:n', async (req) => {
  await pause(100);
  return { ok: req.params.n };
});

app.get('/sums/:least', async (req) => {
  const orders = await knex('orders').where('id', '>', req.params.least).orderBy('id').limit(2500);
  return { cents: orders.reduce((sum, order) => sum + order.total_cents, 0) };
});

app.get('/newest/:page', async (req) =>
  knex('orders').orderBy('id', 'desc').limit(20).offset(20 * Number(req.params.page)).select('id', 'status'));

app.register(async (members) => {
  members.addHook('preHandler', async (req) => {
    req.member = await json(`/users/${req.params.id}?ms=20`);
  });
  members.get('/rooms/:id', async (req) => {
    const rows = await knex('orders').where({ customer_id: req.params.id }).select('id');
    const member = await json(`/users/${req.params.id}?ms=20`);
    return { rows: rows.length, member };
  });
});

app.get('/top/:category', async (req) => {
  const key = `fastify-top:${req.params.category}`;
  const found = await cache.get(key);
  if (found) return JSON.parse(found);
  const fresh = await json(`/rankings/${req.params.category}?ms=110`);
  await cache.set(key, JSON.stringify(fresh), { PX: 900 });
  return fresh;
});

app.get('/top/:category/warm', async (req) => {
  const key = `fastify-warm:${req.params.category}`;
  const found = await cache.get(key);
  if (found) return JSON.parse(found);
  const fresh = await json(`/rankings/${req.params.category}?ms=40`);
  await cache.set(key, JSON.stringify(fresh), { PX: 60_000 });
  return fresh;
});

app.get('/trips/:id', async (req) => {
  const stops = await knex('items').whereBetween('order_id', [req.params.id, Number(req.params.id) + 3]).select('product_id');
  const done = [];
  for (const { product_id: id } of stops) {
    done.push(await within('plan stop', async () => {
      const [stock] = await knex('stock').where({ product_id: id }).select('quantity');
      return { stock, delay: await cache.get(`delay:${id}`), way: (await json(`/ways/${id}?ms=2`)).next };
    }));
  }
  return done;
});

app.get('/stops/:id', async (req) => {
  const stops = await knex('items').whereBetween('order_id', [req.params.id, Number(req.params.id) + 4]).select('product_id');
  const done = [];
  for (const { product_id: id } of stops) {
    done.push(await within('load stop', async () => knex('stock').where({ product_id: id }).select('quantity')));
  }
  return done;
});

app.get('/digests/:id', async (req, reply) => {
  const products = await knex('products').where('id', '>', req.params.id).limit(40).select('id', 'name', 'description');
  const body = tracer.startActiveSpan('encode response', (span) => {
    let made = '';
    for (let n = 0; n < 1500; n++) made = JSON.stringify(products);
    span.end();
    return made;
  });
  return reply.type('application/json').send(body.slice(0, 1000));
});

app.get('/replicas/:id', async (req) => {
  await pause(lag);
  return json(`/tiles/${req.params.id}?ms=6`);
});

app.get('/lists/:least', async (req) =>
  knex('products').where('id', '>', req.params.least).orderBy('id').limit(130).select('id', 'name', 'price_cents', 'description'));

cache.connect().then(() => app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' }));
