'use strict';
// Members, carts and visits on pg, ioredis and fetch. Each endpoint is one case of labels.toml.
const crypto = require('node:crypto');
const { promisify } = require('node:util');
const zlib = require('node:zlib');
const express = require('express');
const Redis = require('ioredis');
const { Client, Pool } = require('pg');
const { trace } = require('@opentelemetry/api');

const url = process.env.DATABASE_URL;
const partner = process.env.PARTNER_URL;
const lag = Number(process.env.LAG_S || 0) * 1000;
const pool = new Pool({ connectionString: url, max: 30 });
const narrow = new Pool({ connectionString: url, max: 2 });
const cache = new Redis(process.env.REDIS_URL);
const tracer = trace.getTracer('members');
const app = express();
app.disable('etag');

const query = async (text, values) => (await pool.query(text, values)).rows;
const ask = async (path, options) => {
  const answer = await fetch(partner + path, options);
  await answer.arrayBuffer();
  return answer;
};
const json = async (path) => (await fetch(partner + path)).json();
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const within = (name, work) => tracer.startActiveSpan(name, async (span) => {
  try { return await work(); } finally { span.end(); }
});

const SLOW = 'SELECT count(*), pg_sleep(0.05) FROM reviews WHERE product_id = $1';
const LOADED = 'SELECT avg(stars), pg_sleep(0.11) FROM reviews WHERE product_id < $1';
const BEST = 'SELECT p.category, count(*), avg(r.stars) FROM products p JOIN reviews r ON r.product_id = p.id GROUP BY p.category';

app.get('/health', (req, res) => res.json({ ok: true }));

app.get('/members/:id/orders', async (req, res) => {
  const orders = await query('SELECT id, status FROM orders WHERE customer_id = $1', [req.params.id]);
  for (const order of orders) {
    order.items = await query('SELECT product_id, quantity FROM items WHERE order_id = $1', [order.id]);
  }
  res.json(orders);
});

app.get('/members/:id/orders-joined', async (req, res) => {
  res.json(await query('SELECT o.id, i.product_id FROM orders o JOIN items i ON i.order_id = o.id WHERE o.customer_id = $1',
    [req.params.id]));
});

app.get('/members/:id/stock', async (req, res) => {
  const items = await query('SELECT i.product_id FROM items i JOIN orders o ON o.id = i.order_id WHERE o.customer_id = $1 LIMIT 28',
    [req.params.id]);
  res.json(await Promise.all(items.map(({ product_id: id }) =>
    query('SELECT avg(r.stars), sum(length(md5(r.body))) FROM reviews r WHERE r.product_id BETWEEN $1 AND $1 + 20', [id]))));
});

app.get('/carts/:id', async (req, res) => {
  const lines = [];
  for (let n = 0; n < 60; n++) lines.push(await cache.get(`cart:${req.params.id}:${n}`));
  res.json(lines);
});

app.get('/carts/:id/at-once', async (req, res) => {
  const keys = Array.from({ length: 60 }, (_, n) => `cart:${req.params.id}:${n}`);
  res.json(await cache.mget(keys));
});

app.get('/members/:id/friends', async (req, res) => {
  const friends = [];
  for (let n = 1; n <= 9; n++) friends.push(await json(`/users/${Number(req.params.id) + n}?ms=6`));
  res.json(friends);
});

app.get('/shards/search/:word', async (req, res) => {
  const found = await Promise.all(['a', 'b', 'c'].map((shard) => json(`/shard-${shard}/search/${req.params.word}?ms=25&spread=10`)));
  res.json(found);
});

app.post('/members/:id/lines', async (req, res) => {
  for (let n = 0; n < 18; n++) {
    await query('INSERT INTO events (kind, customer_id, payload) VALUES ($1, $2, $3)', ['line', req.params.id, `n${n}`]);
  }
  res.json({ kept: 18 });
});

app.post('/members/:id/lines-at-once', async (req, res) => {
  const values = [];
  const rows = Array.from({ length: 18 }, (_, n) => {
    values.push('line', req.params.id, `n${n}`);
    return `($${n * 3 + 1}, $${n * 3 + 2}, $${n * 3 + 3})`;
  });
  await query(`INSERT INTO events (kind, customer_id, payload) VALUES ${rows.join(', ')}`, values);
  res.json({ kept: 18 });
});

app.get('/baskets/:id', async (req, res) => {
  const items = await query('SELECT product_id FROM items WHERE order_id BETWEEN $1 AND $1 + 4', [req.params.id]);
  const lines = [];
  for (const { product_id: id } of items) {
    lines.push(await within('price', async () => {
      const [product] = await query('SELECT name, price_cents FROM products WHERE id = $1', [id]);
      const left = await json(`/availability/${id}?ms=2`);
      return { ...product, left };
    }));
  }
  res.json(lines);
});

const guard = async (req, res, next) => {
  const [member] = await query('SELECT id, tier FROM customers WHERE id = $1', [req.params.id]);
  req.member = member;
  next();
};
const quota = async (req, res, next) => {
  await cache.incr(`quota:${req.params.id}`);
  next();
};
const flags = async (req, res, next) => {
  req.flags = await cache.get('flags');
  next();
};

app.get('/guarded/:id', guard, quota, flags, async (req, res) => {
  res.json(await query('SELECT id, status FROM orders WHERE customer_id = $1 LIMIT 10', [req.params.id]));
});

app.get('/pay/:id', async (req, res) => {
  for (let attempt = 0; attempt < 4; attempt++) {
    const answer = await ask(`/gateway/${req.params.id}?ms=22&fail=2`, { method: 'POST' });
    if (answer.ok) return res.json({ paid: true });
  }
  res.sendStatus(503);
});

app.get('/waits/:id', async (req, res) => {
  const token = `${req.params.id}-${crypto.randomUUID()}`;
  for (let look = 0; look < 12; look++) {
    const job = await json(`/jobs/${token}?ms=2&after=6`);
    if (job.state === 'done') return res.json(job);
    await pause(20);
  }
  res.sendStatus(504);
});

app.get('/accounts/:id', async (req, res) => {
  const seen = await json(`/users/${req.params.id}?ms=18`);
  const orders = await query('SELECT count(*) FROM orders WHERE customer_id = $1', [req.params.id]);
  const again = await json(`/users/${req.params.id}?ms=18`);
  res.json({ seen, orders, again });
});

const SCORE = 'SELECT avg(length(md5(p.description || r.body))) FROM products p JOIN reviews r ON r.product_id = p.id WHERE p.category = $1';

app.get('/scores/:category', async (req, res) => {
  const [allowed] = await query(SCORE, [req.params.category]);
  await cache.get(`score:${req.params.category}`);
  const [shown] = await query(SCORE, [req.params.category]);
  res.json({ allowed, shown });
});

app.get('/scores/:a/against/:b', async (req, res) => {
  const [a] = await query(SCORE, [req.params.a]);
  await cache.set(`score:${req.params.a}`, a.avg);
  const [b] = await query(SCORE, [req.params.b]);
  res.json({ a, b });
});

app.post('/visits/:name', async (req, res) => {
  const client = await pool.connect();
  await client.query('BEGIN');
  await client.query('UPDATE counters SET value = value + 1 WHERE name = $1', [`counter ${req.params.name}`]);
  await client.query('SELECT count(*), pg_sleep(0.02) FROM reviews WHERE product_id = $1', [7]);
  await client.query('COMMIT');
  client.release();
  res.json({ counted: true });
});

app.post('/categories/:id/view', async (req, res) => {
  await query('UPDATE products SET views = views + 1 WHERE category < $1', [Number(req.params.id) % 10 === 0 ? 20 : 1]);
  res.json({ ok: true });
});

app.get('/best/:category', async (req, res) => {
  const key = `express-best:${req.params.category}`;
  const found = await cache.get(key);
  if (found) return res.json(JSON.parse(found));
  const fresh = await query(LOADED, [req.params.category]);
  await cache.set(key, JSON.stringify(fresh), 'PX', 900);
  res.json(fresh);
});

const running = new Map();
app.get('/best-once/:category', async (req, res) => {
  const key = `express-once:${req.params.category}`;
  const found = await cache.get(key);
  if (found) return res.json(JSON.parse(found));
  if (!running.has(key)) {
    const load = async () => {
      const fresh = await query(LOADED, [req.params.category]);
      await cache.set(key, JSON.stringify(fresh), 'PX', 900);
      return fresh;
    };
    running.set(key, load().finally(() => running.delete(key)));
  }
  res.json(await running.get(key));
});

const CUSTOMER_SUM = 'SELECT sum(o.total_cents), count(*) FROM orders o JOIN items i ON i.order_id = o.id JOIN reviews r ON r.product_id = i.product_id WHERE o.customer_id = $1';
const CUSTOMER_STARS = 'SELECT avg(length(md5(r.body || o.note))) FROM orders o JOIN items i ON i.order_id = o.id JOIN reviews r ON r.product_id = i.product_id WHERE o.customer_id = $1';
const CUSTOMER_MAIL = 'SELECT count(*) FROM emails e WHERE e.customer_id = $1 AND length(md5(subject)) = 32';

app.get('/homes/:id', async (req, res) => {
  const sum = await query(CUSTOMER_SUM, [req.params.id]);
  const stars = await query(CUSTOMER_STARS, [req.params.id]);
  const mail = await query(CUSTOMER_MAIL, [req.params.id]);
  res.json({ sum, stars, mail });
});

app.get('/homes/:id/together', async (req, res) => {
  const [sum, stars, mail] = await Promise.all([CUSTOMER_SUM, CUSTOMER_STARS, CUSTOMER_MAIL].map((text) =>
    query(text, [req.params.id])));
  res.json({ sum, stars, mail });
});

app.get('/parcels/:id', async (req, res) => {
  const depot = await json(`/depots/${req.params.id}?ms=20`);
  const route = await json(`/routes/${depot.next}?ms=20`);
  res.json(await json(`/vans/${route.next}?ms=20`));
});

app.get('/landing/:id', async (req, res) => {
  const best = await query(BEST);
  const [member] = await query('SELECT name FROM customers WHERE id = $1', [req.params.id]);
  res.json({ best, member });
});

app.get('/glances/:id', async (req, res) => {
  const stars = await query(CUSTOMER_STARS, [req.params.id]);
  res.json({ stars, left: await json(`/availability/${req.params.id}?ms=2`) });
});

app.get('/statements/:id', async (req, res) => {
  res.json(await query(CUSTOMER_STARS, [req.params.id]));
});

app.post('/subscriptions/:id', async (req, res) => {
  await query('UPDATE customers SET tier = 2 WHERE id = $1', [req.params.id]);
  await ask('/analytics/track?ms=40', { method: 'POST', body: '{}' });
  res.json({ ok: true });
});

app.post('/subscriptions/:id/quick', async (req, res) => {
  await query('UPDATE customers SET tier = 2 WHERE id = $1', [req.params.id]);
  ask('/analytics/track?ms=40', { method: 'POST', body: '{}' }).catch(() => {});
  res.json({ ok: true });
});

app.get('/prints/:id', async (req, res) => {
  const answer = await fetch(`${process.env.PRINTER_URL}/render/${req.params.id}`);
  res.json(await answer.json());
});

app.get('/legacy/:id', async (req, res) => {
  const client = new Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query('SELECT name, city FROM customers WHERE id = $1', [req.params.id]);
  await client.end();
  res.json(rows);
});

app.get('/members/:id', async (req, res) => {
  res.json(await query('SELECT name, city FROM customers WHERE id = $1', [req.params.id]));
});

app.get('/reports/:category', async (req, res) => {
  res.json((await narrow.query(SLOW, [req.params.category])).rows);
});

app.get('/reports/:category/wide', async (req, res) => {
  res.json(await query(SLOW, [req.params.category]));
});

app.post('/wallets/:id/charge', async (req, res) => {
  const client = await pool.connect();
  await client.query('BEGIN');
  await client.query('UPDATE customers SET tier = tier + 1 WHERE id = $1', [req.params.id]);
  await ask('/payments/charges?ms=35', { method: 'POST', body: '{}' });
  await client.query('COMMIT');
  client.release();
  res.json({ ok: true });
});

app.post('/wallets/:id/charge-after', async (req, res) => {
  const client = await pool.connect();
  await client.query('BEGIN');
  await client.query('UPDATE customers SET tier = tier + 1 WHERE id = $1', [req.params.id]);
  await client.query('COMMIT');
  const paid = await ask('/payments/charges?ms=35', { method: 'POST', body: '{}' });
  await client.query('BEGIN');
  await client.query('INSERT INTO audit (what, customer_id) VALUES ($1, $2)', [`charge ${paid.status}`, req.params.id]);
  await client.query('COMMIT');
  client.release();
  res.json({ ok: true });
});

app.get('/totals/:least', async (req, res) => {
  const orders = await query('SELECT * FROM orders WHERE id > $1 ORDER BY id LIMIT 3000', [req.params.least]);
  res.json({ cents: orders.reduce((sum, order) => sum + order.total_cents, 0) });
});

app.get('/exports/:least', async (req, res) => {
  res.json(await query('SELECT id, status, total_cents FROM orders WHERE id > $1 ORDER BY id LIMIT 1200', [req.params.least]));
});

app.get('/catalogue/:page', async (req, res) => {
  res.json(await query('SELECT id, name, price_cents, description FROM products ORDER BY id LIMIT $1',
    [600 + 300 * Number(req.params.page)]));
});

app.get('/digests/:id', async (req, res) => {
  const products = await query('SELECT id, name, description FROM products WHERE id > $1 LIMIT 40', [req.params.id]);
  const body = tracer.startActiveSpan('JSON.stringify digest', (span) => {
    let made = '';
    for (let n = 0; n < 1500; n++) made = JSON.stringify(products);
    span.end();
    return made;
  });
  res.type('json').send(body.slice(0, 1000));
});

app.get('/shaped/:id', async (req, res) => {
  const rows = await query(CUSTOMER_STARS, [req.params.id]);
  const body = tracer.startActiveSpan('serialize rows', (span) => {
    const made = JSON.stringify(rows);
    span.end();
    return made;
  });
  res.type('json').send(body);
});

app.get('/tokens/:n', async (req, res) => {
  await cache.get(`token:${req.params.n}`);
  res.json({ token: crypto.pbkdf2Sync(req.params.n, 'salt', 150_000, 32, 'sha256').toString('hex') });
});

app.get('/tokens/:n/aside', async (req, res) => {
  await cache.get(`token:${req.params.n}`);
  const token = await promisify(crypto.pbkdf2)(req.params.n, 'salt', 60_000, 32, 'sha256');
  res.json({ token: token.toString('hex') });
});

app.get('/stock/:id', async (req, res) => {
  await cache.get(`stock:${req.params.id}`);
  res.json(await query('SELECT quantity FROM stock WHERE product_id = $1', [req.params.id]));
});

app.get('/checks/:n', async (req, res) => {
  await pause(110);
  res.json({ ok: req.params.n });
});

const list = (least, count) => query('SELECT id, name, price_cents, description FROM products WHERE id > $1 ORDER BY id LIMIT $2',
  [least, count]);

app.get('/lists/:least', async (req, res) => res.json(await list(req.params.least, 130)));

app.get('/lists/:least/packed', async (req, res) => {
  const body = zlib.gzipSync(JSON.stringify(await list(req.params.least, 130)), { level: 1 });
  res.set({ 'content-type': 'application/json', 'content-encoding': 'gzip', 'cache-control': 'private, max-age=5' });
  res.send(body);
});

app.get('/lists/:least/tagged', async (req, res) => {
  const body = JSON.stringify(await list(req.params.least, 30));
  res.set('etag', `"${crypto.createHash('sha1').update(body).digest('hex')}"`);
  res.type('json').send(body);
});

app.get('/replicas/:id', async (req, res) => {
  if (lag) await pause(lag);
  res.json(await query('SELECT quantity, pg_sleep(0.004) FROM stock WHERE product_id = $1', [req.params.id]));
});

if (process.env.WARM_UP === '1') {
  // What keeps the cache warm: a job, nobody's request.
  setInterval(() => within('warm cache', async () => {
    for (let n = 0; n < 30; n++) await cache.set(`warm:${n}`, String(n), 'EX', 60);
  }), 700).unref();
}

app.listen(process.env.PORT, '127.0.0.1');
