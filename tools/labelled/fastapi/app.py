"""Customers, orders and products on SQLAlchemy, asyncpg, httpx and Redis. Each endpoint is one case of labels.toml."""

import asyncio
import hashlib
import os
import time

import asyncpg
import httpx
import redis
import redis.asyncio
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from opentelemetry import trace
from sqlalchemy import ForeignKey, Text, create_engine, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload
from sqlalchemy.pool import NullPool

URL = os.environ["DATABASE_URL"]
PARTNER = os.environ["PARTNER_URL"]
LAG = float(os.environ.get("LAG_S", "0"))
DRIVER_URL = URL.replace("postgresql://", "postgresql+psycopg://", 1)
engine = create_engine(DRIVER_URL, pool_size=20)
unpooled = create_engine(DRIVER_URL, poolclass=NullPool)
narrow = create_engine(DRIVER_URL, pool_size=2, max_overflow=0)
cache = redis.Redis.from_url(os.environ["REDIS_URL"])
cache_async = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"])
client = httpx.Client(base_url=PARTNER, timeout=5)
client_async = httpx.AsyncClient(base_url=PARTNER, timeout=5)
tracer = trace.get_tracer("catalog")
app = FastAPI()
pool = None


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    city: Mapped[str]
    tier: Mapped[int]
    orders: Mapped[list["Order"]] = relationship()


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"))
    status: Mapped[str]
    total_cents: Mapped[int]
    items: Mapped[list["Item"]] = relationship()


class Item(Base):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"))
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))
    quantity: Mapped[int]


class Product(Base):
    __tablename__ = "products"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    price_cents: Mapped[int]
    category: Mapped[int]
    description: Mapped[str]


class Event(Base):
    __tablename__ = "events"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    customer_id: Mapped[int]
    payload: Mapped[str] = mapped_column(Text)


class Audit(Base):
    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(primary_key=True)
    what: Mapped[str]
    customer_id: Mapped[int]


class Outbox(Base):
    __tablename__ = "outbox"
    id: Mapped[int] = mapped_column(primary_key=True)
    topic: Mapped[str]
    payload: Mapped[str]


async def connections():
    global pool
    if pool is None:
        pool = await asyncpg.create_pool(URL, min_size=12, max_size=20)
    return pool


@app.get("/health")
async def health():
    await connections()
    return {"ok": True}


@app.get("/customers/{customer_id}/orders")
def orders_of_customer(customer_id: int):
    with Session(engine) as session:
        found = session.scalars(select(Order).where(Order.customer_id == customer_id)).all()
        return [{"id": o.id, "items": [i.product_id for i in o.items]} for o in found]


@app.get("/customers/{customer_id}/orders-at-once")
def orders_at_once(customer_id: int):
    with Session(engine) as session:
        query = select(Order).where(Order.customer_id == customer_id).options(selectinload(Order.items))
        return [{"id": o.id, "items": [i.product_id for i in o.items]} for o in session.scalars(query).all()]


@app.post("/customers/{customer_id}/import")
def import_events(customer_id: int):
    with Session(engine) as session:
        for n in range(18):
            session.add(Event(kind="import", customer_id=customer_id, payload=f"line {n}"))
            session.flush()
        session.commit()
    return {"imported": 18}


@app.post("/customers/{customer_id}/import-at-once")
def import_at_once(customer_id: int):
    with Session(engine) as session:
        session.add_all(Event(kind="import", customer_id=customer_id, payload=f"line {n}") for n in range(18))
        session.commit()
    return {"imported": 18}


@app.post("/customers/{customer_id}/place")
def place(customer_id: int):
    with Session(engine) as session:
        session.add(Event(kind="placed", customer_id=customer_id, payload="x"))
        session.flush()
        session.add(Audit(what="placed", customer_id=customer_id))
        session.flush()
        session.add(Outbox(topic="orders", payload=str(customer_id)))
        session.flush()
        session.execute(text("UPDATE stock SET quantity = quantity - 1 WHERE product_id = :p"), {"p": customer_id})
        session.commit()
    return {"placed": True}


@app.get("/quotes/{order_id}")
def quote(order_id: int):
    with Session(engine) as session:
        total = 0
        items = session.scalars(select(Item).where(Item.order_id.between(order_id, order_id + 2))).all()
        for item in items:
            with tracer.start_as_current_span("price line"):
                product = session.get(Product, item.product_id)
                session.expunge(product)
                discount = cache.get(f"discount:{item.product_id}")
                total += product.price_cents * item.quantity - int(discount or 0)
        return {"total": total}


@app.get("/customers/{customer_id}/home")
def home(customer_id: int):
    def look_up(session):
        return session.execute(text(
            f"SELECT c.name, sum(o.total_cents) FROM customers c JOIN orders o ON o.customer_id = c.id "
            f"JOIN items i ON i.order_id = o.id JOIN reviews r ON r.product_id = i.product_id "
            f"WHERE c.id = {customer_id} GROUP BY c.name")).first()

    with Session(engine) as session:
        allowed = look_up(session)
        if allowed is None:
            raise HTTPException(404)
        found = look_up(session)
        return {"name": found[0], "sum": found[1]}


@app.get("/customers/{customer_id}/with/{other_id}")
def two_customers(customer_id: int, other_id: int):
    with Session(engine) as session:
        def name(number):
            return session.execute(text(f"SELECT name, city FROM customers WHERE id = {number}")).first()[0]

        return {"a": name(customer_id), "b": name(other_id)}


@app.get("/dashboard/{customer_id}")
async def dashboard(customer_id: int):
    profile = await client_async.get(f"/users/{customer_id}?ms=20")
    points = await client_async.get(f"/loyalty/{customer_id}?ms=25")
    picks = await client_async.get(f"/recommendations/{customer_id}?ms=30")
    return {"profile": profile.json(), "points": points.json(), "picks": picks.json()}


@app.get("/dashboard-together/{customer_id}")
async def dashboard_together(customer_id: int):
    answers = await asyncio.gather(
        client_async.get(f"/users/{customer_id}?ms=20"),
        client_async.get(f"/loyalty/{customer_id}?ms=25"),
        client_async.get(f"/recommendations/{customer_id}?ms=30"))
    return [answer.json() for answer in answers]


@app.get("/delivery/{customer_id}")
async def delivery(customer_id: int):
    zone = (await client_async.get(f"/zones/{customer_id}?ms=20")).json()["next"]
    depot = (await client_async.get(f"/depots/{zone}?ms=20")).json()["next"]
    slot = (await client_async.get(f"/slots/{depot}?ms=20")).json()["next"]
    return {"slot": slot}


BEST = ("SELECT p.category, count(*), avg(r.stars) FROM products p JOIN reviews r ON r.product_id = p.id "
        "GROUP BY p.category ORDER BY 3 DESC")


@app.get("/categories/{customer_id}")
def categories(customer_id: int):
    with Session(engine) as session:
        rows = session.execute(text(BEST)).all()
        return [[c, n, float(s)] for c, n, s in rows]


@app.post("/orders/{order_id}/confirm")
def confirm(order_id: int):
    with Session(engine) as session:
        session.execute(text("UPDATE orders SET status = 'confirmed' WHERE id = :id"), {"id": order_id})
        session.commit()
    client.post("/mail/send?ms=60", json={"order": order_id})
    return {"confirmed": order_id}


@app.post("/orders/{order_id}/refund")
def refund(order_id: int):
    approval = client.post("/payments/refunds?ms=60", json={"order": order_id}).json()
    with Session(engine) as session:
        found = session.execute(text("SELECT status, total_cents FROM orders WHERE id = :id"), {"id": order_id}).first()
        session.execute(text("UPDATE orders SET status = 'refunded' WHERE id = :id"), {"id": order_id})
        session.commit()
    return {"approval": approval, "cents": found[1]}


@app.get("/invoices/{order_id}")
def invoice(order_id: int):
    with Session(engine) as session:
        order = session.get(Order, order_id)
    return {"order": order.id, "pdf": client.get(f"/pdf/{order_id}?ms=140&spread=60").json()}


@app.get("/shelf/{product_id}")
def shelf(product_id: int):
    with Session(engine) as session:
        rows = session.execute(text(
            "SELECT category, sum(length(description)), avg(length(md5(description || :salt))) FROM products "
            "GROUP BY category"), {"salt": str(product_id)}).all()
    left = client.get(f"/availability/{product_id}?ms=2").json()
    return {"rows": len(rows), "left": left}


@app.get("/legacy/customers/{customer_id}")
def legacy(customer_id: int):
    with Session(unpooled) as session:
        return {"name": session.get(Customer, customer_id).name}


@app.get("/customers/{customer_id}")
def customer(customer_id: int):
    with Session(engine) as session:
        found = session.get(Customer, customer_id)
        if found is None:
            raise HTTPException(404)
        return {"name": found.name, "city": found.city}


SLOW = "SELECT count(*), pg_sleep(0.05) FROM reviews WHERE product_id = :product"


@app.get("/reports/{least}")
def report(least: int):
    with Session(narrow) as session:
        return [r[0] for r in session.execute(text(SLOW), {"product": least}).all()]


@app.get("/reports-wide/{least}")
def report_wide(least: int):
    with Session(engine) as session:
        return [r[0] for r in session.execute(text(SLOW), {"product": least}).all()]


@app.get("/tokens/{number}")
async def token(number: int):
    await cache_async.get(f"token:{number}")
    return {"token": hashlib.pbkdf2_hmac("sha256", str(number).encode(), b"salt", 150_000).hex()}


@app.get("/tokens-aside/{number}")
async def token_aside(number: int):
    await cache_async.get(f"token:{number}")
    made = await run_in_threadpool(hashlib.pbkdf2_hmac, "sha256", str(number).encode(), b"salt", 60_000)
    return {"token": made.hex()}


@app.get("/stock/{product_id}")
async def stock(product_id: int):
    await cache_async.get(f"stock:{product_id}")
    return {"left": await (await connections()).fetchval("SELECT quantity FROM stock WHERE product_id = $1", product_id)}


@app.get("/catalogue/{page}")
def catalogue(page: int):
    with Session(engine) as session:
        products = session.scalars(select(Product).order_by(Product.id).limit(300 + page * 100)).all()
        return [{"id": p.id, "name": p.name, "price": p.price_cents, "text": p.description} for p in products]


@app.get("/checks/{number}")
def checks(number: int):
    time.sleep(0.12)
    return {"ok": number}


@app.get("/pay/{number}")
def pay(number: int):
    for _ in range(4):
        answer = client.get(f"/gateway/{number}?ms=25&fail=2")
        if answer.status_code == 200:
            return answer.json()
    raise HTTPException(503)


@app.get("/best/{category}")
async def best(category: int):
    key = f"best:{category}"
    if found := await cache_async.get(key):
        return {"cached": len(found)}
    rows = await (await connections()).fetch("SELECT category, count(*), pg_sleep(0.005) FROM products GROUP BY category")
    await cache_async.set(key, str(rows), px=900)
    return {"fresh": len(rows)}


@app.post("/wallets/{customer_id}/charge")
async def charge(customer_id: int):
    async with (await connections()).acquire() as connection:
        async with connection.transaction():
            await connection.execute("UPDATE customers SET tier = tier + 1 WHERE id = $1", customer_id)
            answer = await client_async.post(f"/payments/charges?ms=40", json={"customer": customer_id})
            await connection.execute("INSERT INTO audit (what, customer_id) VALUES ('charge', $1)", customer_id)
    return answer.json()


@app.post("/wallets/{customer_id}/charge-first")
async def charge_first(customer_id: int):
    answer = await client_async.post(f"/payments/charges?ms=40", json={"customer": customer_id})
    async with (await connections()).acquire() as connection:
        async with connection.transaction():
            await connection.execute("UPDATE customers SET tier = tier + 1 WHERE id = $1", customer_id)
            await connection.execute("INSERT INTO audit (what, customer_id) VALUES ('charge', $1)", customer_id)
    return answer.json()


@app.post("/visits/{name}")
async def visit(name: str):
    async with (await connections()).acquire() as connection:
        async with connection.transaction():
            await connection.execute("UPDATE counters SET value = value + 1 WHERE name = $1", f"counter {name}")
            await connection.fetch("SELECT count(*), pg_sleep(0.02) FROM reviews WHERE product_id = $1", 7)
    return {"counted": True}


@app.get("/replicas/{product_id}")
async def replica(product_id: int):
    await cache_async.get(f"stock:{product_id}")
    if LAG:
        await asyncio.sleep(LAG)
    return {"left": await (await connections()).fetchval("SELECT quantity FROM stock WHERE product_id = $1", product_id)}


@app.get("/statements/{customer_id}")
def statement(customer_id: int):
    with Session(engine) as session:
        products = session.scalars(select(Product).limit(60)).all()
    with tracer.start_as_current_span("serialize statement"):
        value = None
        for _ in range(40):
            value = JSONResponse([{"n": p.name, "d": p.description, "c": p.price_cents} for p in products])
    return Response(value.body[:2000], media_type="application/json")


@app.post("/uploads/{customer_id}")
def upload(customer_id: int):
    with tracer.start_as_current_span("parse and store"):
        with Session(engine) as session:
            session.execute(text("SELECT count(*), pg_sleep(0.03) FROM reviews WHERE product_id = :p"), {"p": customer_id})
            session.execute(text("UPDATE customers SET tier = 1 WHERE id = :id"), {"id": customer_id})
            session.commit()
    return {"stored": True}


@app.get("/lists/{product_id}")
def product_list(product_id: int, request: Request):
    with Session(engine) as session:
        found = session.scalars(select(Product).where(Product.id > product_id).limit(90)).all()
        body = [{"id": p.id, "name": p.name, "text": p.description} for p in found]
    return JSONResponse(body, headers={"ETag": f'"{product_id}"'})


@app.get("/prints/{product_id}")
async def prints(product_id: int):
    return (await client_async.get(f"{os.environ['PRINTER_URL']}/render/{product_id}")).json()


@app.get("/chains/{order_id}")
def chain(order_id: int):
    with tracer.start_as_current_span("authorize"):
        cache.get(f"session:{order_id}")
    with tracer.start_as_current_span("load"):
        with Session(engine) as session:
            session.get(Order, order_id)
    with tracer.start_as_current_span("render"):
        cache.get(f"template:{order_id % 7}")
    return {"ok": True}
