'use strict';
// Users, devices and readings, the way a first version is written.
const express = require('express');
const { Pool } = require('pg');

const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 10 });
const app = express();

app.get('/health', (req, res) => res.json({ ok: true }));

app.get('/users/:id', async (req, res) => {
  const { rows } = await pool.query('SELECT id, name FROM users WHERE id = $1', [req.params.id]);
  if (rows.length === 0) return res.sendStatus(404);
  res.json(rows[0]);
});

app.get('/users/:id/devices', async (req, res) => {
  const { rows: devices } = await pool.query('SELECT id, label FROM devices WHERE user_id = $1', [req.params.id]);
  for (const device of devices) {
    const { rows } = await pool.query(
      'SELECT value FROM readings WHERE device_id = $1 ORDER BY id DESC LIMIT 1', [device.id]);
    device.last = rows[0] && rows[0].value;
  }
  res.json(devices);
});

app.get('/readings/by-token/:token', async (req, res) => {
  const { rows } = await pool.query('SELECT id, value FROM readings WHERE token = $1', [req.params.token]);
  if (rows.length === 0) return res.sendStatus(404);
  res.json(rows[0]);
});

const server = app.listen(process.env.PORT, '127.0.0.1');
process.on('SIGTERM', () => server.close());
