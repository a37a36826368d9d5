"""Shops and stock on psycopg2, requests and Redis. Each endpoint is one case of labels.toml."""

import gzip
import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg2.pool
import redis
import requests
from flask import Flask, Response, jsonify
from opentelemetry import trace

PARTNER = os.environ["PARTNER_URL"]
LAG = float(os.environ.get("LAG_S", "0"))
pool = psycopg2.pool.ThreadedConnectionPool(1, 20, os.environ["DATABASE_URL"])
cache = redis.Redis.from_url(os.environ["REDIS_URL"])
session = requests.Session()
tracer = trace.get_tracer("shops")
app = Flask(__name__)


class cursor:
    """A cursor of a pooled connection; commits at the end."""

    def __enter__(self):
        self.connection = pool.getconn()
        self.cursor = self.connection.cursor()
        return self.cursor

    def __exit__(self, kind, *_):
        self.connection.rollback() if kind else self.connection.commit()
        pool.putconn(self.connection)


def ask(path, **options):
    return session.get(PARTNER + path, **options)


@app.get("/health")
def health():
    return jsonify(ok=True)


@app.get("/orders/<int:order_id>/lines")
def lines(order_id):
    with cursor() as c:
        c.execute("SELECT product_id, quantity FROM items WHERE order_id BETWEEN %s AND %s", (order_id, order_id + 5))
        found = []
        for product, quantity in c.fetchall():
            c.execute("SELECT name, price_cents FROM products WHERE id = %s", (product,))
            name, price = c.fetchone()
            found.append([name, price * quantity])
    return jsonify(found)


@app.get("/orders/<int:order_id>/lines-any")
def lines_any(order_id):
    with cursor() as c:
        c.execute("SELECT product_id, quantity FROM items WHERE order_id BETWEEN %s AND %s", (order_id, order_id + 5))
        quantities = dict(c.fetchall())
        c.execute("SELECT id, name, price_cents FROM products WHERE id = ANY(%s)", (list(quantities),))
        return jsonify([[name, price * quantities[i]] for i, name, price in c.fetchall()])


@app.get("/carts/<int:number>")
def cart(number):
    return jsonify([str(cache.get(f"product:{number + n}")) for n in range(45)])


@app.get("/carts-piped/<int:number>")
def cart_piped(number):
    pipe = cache.pipeline(transaction=False)
    for n in range(45):
        pipe.get(f"product:{number + n}")
    return jsonify([str(v) for v in pipe.execute()])


@app.post("/stock/<int:product_id>/take")
def take(product_id):
    with cursor() as c:
        for n in range(20):
            c.execute("UPDATE stock SET quantity = quantity - 1 WHERE product_id = %s", (product_id + n,))
    return jsonify(taken=20)


@app.post("/events/<int:customer_id>/many")
def many(customer_id):
    rows = [("view", customer_id, f"page {n}") for n in range(20)]
    with cursor() as c:
        c.executemany("INSERT INTO events (kind, customer_id, payload) VALUES (%s, %s, %s)", rows)
    return jsonify(kept=20)


@app.get("/profiles/<int:user>")
def profile(user):
    visible = ask(f"/users/{user}?ms=20").json()
    plan = ask(f"/plans/{user}?ms=5").json()
    shown = ask(f"/users/{user}?ms=20").json()
    return jsonify(visible=visible, plan=plan, shown=shown)


@app.post("/profiles/<int:user>")
def change_profile(user):
    before = ask(f"/users/{user}?ms=15").json()
    session.put(f"{PARTNER}/users/{user}?ms=15", json={"name": "x"})
    after = ask(f"/users/{user}?ms=15").json()
    return jsonify(before=before, after=after)


@app.get("/exports/<int:number>/wait")
def wait(number):
    token = f"{number}-{time.time_ns()}"
    for _ in range(12):
        answer = ask(f"/jobs/{token}?ms=2&after=5").json()
        if answer["state"] == "done":
            return jsonify(answer)
        time.sleep(0.025)
    return jsonify(state="late")


@app.get("/rates/<int:number>")
def rates(number):
    for limit in (0.06, 0.06, 1):
        try:
            return jsonify(ask(f"/fx/{number}-{time.time_ns() // 10**9}?ms=5&hang=2", timeout=limit).json())
        except requests.Timeout:
            continue
    return jsonify(error="late"), 503


@app.get("/pictures/<int:number>")
def picture(number):
    if ask(f"/edge/{number}?ms=5&status=404").status_code == 404:
        return jsonify(ask(f"/origin/{number}?ms=30").json())
    return jsonify(ok=True)


@app.post("/visits/<int:name>")
def visit(name):
    connection = pool.getconn()
    connection.autocommit = True
    c = connection.cursor()
    c.execute("BEGIN")
    c.execute("UPDATE counters SET value = value + 1 WHERE name = %s", (f"counter {name}",))
    ask(f"/geo/{name}?ms=25")
    c.execute("COMMIT")
    connection.autocommit = False
    pool.putconn(connection)
    return jsonify(counted=True)


@app.get("/summaries/<int:user>")
def summary(user):
    return jsonify([ask(f"/users/{user}?ms=20").json(), ask(f"/loyalty/{user}?ms=20").json(),
                    ask(f"/coupons/{user}?ms=20").json()])


workers = ThreadPoolExecutor(24)


@app.get("/summaries-together/<int:user>")
def summary_together(user):
    paths = [f"/users/{user}?ms=20", f"/loyalty/{user}?ms=20", f"/coupons/{user}?ms=20"]
    return jsonify([answer.json() for answer in workers.map(ask, paths)])


@app.get("/banners/<int:user>")
def banner(user):
    config = ask("/config/banners?ms=25").json()
    with cursor() as c:
        c.execute("SELECT name, tier FROM customers WHERE id = %s", (user,))
        return jsonify(config=config, name=c.fetchone()[0])


@app.get("/feeds/<int:user>")
def feed(user):
    with cursor() as c:
        c.execute("SELECT name, tier FROM customers WHERE id = %s", (user,))
        tier = c.fetchone()[1]
    return jsonify(tier=tier, feed=ask(f"/feeds/{user}?ms=25").json())


@app.post("/signups/<int:user>")
def signup(user):
    with cursor() as c:
        c.execute("INSERT INTO audit (what, customer_id) VALUES ('signup', %s)", (user,))
    with tracer.start_as_current_span("send welcome email"):
        session.post(f"{PARTNER}/v1/sms?ms=50", json={"to": user})
    return jsonify(welcome=user)


@app.get("/emails/<int:user>")
def emails(user):
    with cursor() as c:
        c.execute("SELECT id, subject FROM emails WHERE customer_id = %s AND length(md5(subject)) > 1", (user,))
        found = c.fetchall()
    return jsonify(found, ask(f"/mail/folders/{user}?ms=30").json())


@app.get("/render/<int:number>")
def render(number):
    with cursor() as c:
        c.execute("SELECT name, pg_sleep(0.035) FROM products WHERE id = %s", (number,))
        return jsonify(c.fetchone()[0])


@app.get("/pages/<int:number>")
def pages(number):
    connection = pool.getconn()
    c = connection.cursor()
    c.execute("DECLARE everything CURSOR FOR SELECT id, note FROM orders WHERE id > %s AND id < %s + 3000",
              (number, number))
    size = 0
    while True:
        c.execute("FETCH FORWARD 300 FROM everything")
        rows = c.fetchall()
        if not rows:
            break
        size += sum(len(note) for _, note in rows)
    connection.rollback()
    pool.putconn(connection)
    return jsonify(size=size)


@app.get("/keyset/<int:number>")
def keyset(number):
    size, last, end = 0, number, number + 4000
    with cursor() as c:
        while last < end:
            c.execute("SELECT id, note FROM orders WHERE id > %s ORDER BY id LIMIT 500", (last,))
            rows = c.fetchall()
            size += sum(len(note) for _, note in rows)
            last = rows[-1][0]
    return jsonify(size=size)


@app.get("/compare/<int:a>/<int:b>/<int:d>")
def compare(a, b, d):
    found = []
    with cursor() as c:
        for product in (a, b, d):
            c.execute("SELECT name, price_cents FROM products WHERE id = %s", (product,))
            found.append(c.fetchone())
    return jsonify(found)


@app.get("/letters/<int:number>")
def letter(number):
    with cursor() as c:
        c.execute("SELECT name FROM customers WHERE id = %s", (number,))
        name = c.fetchone()[0]
    return jsonify(hashlib.pbkdf2_hmac("sha256", name.encode(), b"s", 150_000).hex())


def products(least, count):
    with cursor() as c:
        c.execute("SELECT id, name, price_cents, description FROM products WHERE id > %s ORDER BY id LIMIT %s",
                  (least, count))
        return json.dumps([dict(zip(("id", "name", "price", "text"), row)) for row in c.fetchall()])


@app.get("/lists/<int:least>")
def product_list(least):
    return Response(products(least, 150), mimetype="application/json")


@app.get("/lists-packed/<int:least>")
def list_packed(least):
    answer = Response(gzip.compress(products(least, 150).encode(), 1), mimetype="application/json")
    answer.headers["Content-Encoding"] = "gzip"
    answer.headers["Cache-Control"] = "private, max-age=5"
    return answer


@app.get("/lists-short/<int:least>")
def list_short(least):
    return Response(products(least, 4), mimetype="application/json")


@app.get("/catalogue/<int:page>")
def catalogue(page):
    body = json.loads(products(0, 600 + 200 * page))
    for entry in body:
        entry["hash"] = hashlib.md5((entry["text"] * 20).encode()).hexdigest()
    return Response(json.dumps(body), mimetype="application/json")


BLOB = os.urandom(400_000)


@app.get("/blobs/<int:number>")
def blob(number):
    with cursor() as c:
        c.execute("SELECT count(*), avg(stars) FROM reviews WHERE body <> %s", (str(number),))
        c.fetchone()
    return Response(BLOB, mimetype="application/octet-stream")


@app.get("/replicas/<int:number>")
def replica(number):
    ask(f"/shards/{number}?ms={int(5 + LAG * 1000)}")
    with cursor() as c:
        c.execute("SELECT name FROM products WHERE id = %s", (number,))
        return jsonify(c.fetchone()[0])


@app.get("/best/<int:category>")
def best(category):
    key = f"flask-best:{category}"
    if found := cache.get(key):
        return jsonify(json.loads(found))
    answer = ask(f"/rankings/{category}?ms=120").json()
    cache.set(key, json.dumps(answer), px=900)
    return jsonify(answer)


@app.get("/once/<int:user>")
def once(user):
    key = f"once:{user}"
    if found := cache.get(key):
        return jsonify(json.loads(found))
    answer = ask(f"/rankings/{user}?ms=40").json()
    cache.set(key, json.dumps(answer), px=60_000)
    return jsonify(answer)


if __name__ == "__main__":
    from werkzeug.serving import WSGIRequestHandler, run_simple

    WSGIRequestHandler.protocol_version = "HTTP/1.1"
    WSGIRequestHandler.log_request = lambda *_: None
    run_simple("127.0.0.1", int(os.environ["PORT"]), app, threaded=os.environ.get("THREADS", "many") == "many")
