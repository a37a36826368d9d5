-- One schema for both services; large enough that a sequential scan shows.
CREATE TABLE authors (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE books (id int PRIMARY KEY, author_id int NOT NULL, isbn text NOT NULL, title text NOT NULL);
CREATE TABLE reviews (id int PRIMARY KEY, book_id int NOT NULL, stars int NOT NULL, body text NOT NULL);
INSERT INTO authors SELECT n, 'author ' || n FROM generate_series(1, 20000) n;
INSERT INTO books SELECT n, n % 20000 + 1, 'isbn-' || md5(n::text), 'title ' || n FROM generate_series(1, 300000) n;
INSERT INTO reviews SELECT n, n, n % 5 + 1, repeat('fine ', 8) FROM generate_series(1, 300000) n;
CREATE INDEX ON books (author_id);
CREATE INDEX ON reviews (book_id);

CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE devices (id int PRIMARY KEY, user_id int NOT NULL, label text NOT NULL);
CREATE TABLE readings (id int PRIMARY KEY, device_id int NOT NULL, token text NOT NULL, value int NOT NULL);
INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 2000) n;
INSERT INTO devices SELECT n, n % 2000 + 1, 'device ' || n FROM generate_series(1, 30000) n;
INSERT INTO readings SELECT n, n % 30000 + 1, md5('t' || n), n % 100 FROM generate_series(1, 300000) n;
CREATE INDEX ON devices (user_id);
CREATE INDEX ON readings (device_id);
ANALYZE;
