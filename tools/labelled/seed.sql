-- One schema for all services; large enough that an aggregate takes its time, small enough to be made in seconds.
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, email text NOT NULL, city text NOT NULL, tier int NOT NULL);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL, status text NOT NULL, total_cents int NOT NULL,
    shipping_address text NOT NULL, note text NOT NULL);
CREATE TABLE items (id int PRIMARY KEY, order_id int NOT NULL, product_id int NOT NULL, quantity int NOT NULL);
CREATE TABLE products (id int PRIMARY KEY, name text NOT NULL, price_cents int NOT NULL, category int NOT NULL,
    description text NOT NULL, views int NOT NULL DEFAULT 0);
CREATE TABLE reviews (id int PRIMARY KEY, product_id int NOT NULL, stars int NOT NULL, body text NOT NULL);
CREATE TABLE stock (product_id int PRIMARY KEY, quantity int NOT NULL);
CREATE TABLE counters (name text PRIMARY KEY, value bigint NOT NULL);
CREATE TABLE settings (key text PRIMARY KEY, value text NOT NULL);
CREATE TABLE emails (id int PRIMARY KEY, customer_id int NOT NULL, subject text NOT NULL);
CREATE TABLE jobs (id serial PRIMARY KEY, state text NOT NULL, payload text NOT NULL);
CREATE TABLE events (id serial PRIMARY KEY, kind text NOT NULL, customer_id int NOT NULL, payload text NOT NULL);
CREATE TABLE audit (id serial PRIMARY KEY, what text NOT NULL, customer_id int NOT NULL);
CREATE TABLE outbox (id serial PRIMARY KEY, topic text NOT NULL, payload text NOT NULL);

INSERT INTO customers SELECT n, 'customer ' || n, 'c' || n || '@example.org', 'city ' || n % 97, n % 3
    FROM generate_series(1, 2000) n;
INSERT INTO orders SELECT n, (n - 1) / 25 + 1, CASE n % 4 WHEN 0 THEN 'open' ELSE 'sent' END, n % 9000 + 100,
    'street ' || n % 999 || ', city ' || n % 97, repeat('leave it at the door ', 6) FROM generate_series(1, 50000) n;
INSERT INTO items SELECT n, (n - 1) / 4 + 1, n * 7919 % 5000 + 1, n % 5 + 1 FROM generate_series(1, 200000) n;
INSERT INTO products SELECT n, 'product ' || n, n % 900 + 100, n % 20, repeat('sturdy and light ', 12), 0
    FROM generate_series(1, 5000) n;
INSERT INTO reviews SELECT n, n % 5000 + 1, n % 5 + 1, repeat('fine ', 10) FROM generate_series(1, 100000) n;
INSERT INTO stock SELECT n, 1000000 FROM generate_series(1, 5000) n;
INSERT INTO counters SELECT 'counter ' || n, 0 FROM generate_series(1, 200) n;
INSERT INTO settings SELECT 'key ' || n, repeat('value ', 20) FROM generate_series(1, 50) n;
INSERT INTO emails SELECT n, n % 2000 + 1, 'subject ' || n FROM generate_series(1, 40000) n;
INSERT INTO jobs (state, payload) SELECT 'ready', 'job ' || n FROM generate_series(1, 20000) n;
CREATE INDEX ON orders (customer_id);
CREATE INDEX ON items (order_id);
CREATE INDEX ON reviews (product_id);
CREATE INDEX ON jobs (id) WHERE state = 'ready';
ANALYZE;
