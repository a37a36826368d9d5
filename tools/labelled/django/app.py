"""A Django project of one file: orders, stock and mail by the ORM. Each endpoint is one case of labels.toml."""

import os
import time

import django
import redis
import requests

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django.setup()

from django.db import connection, models, transaction  # noqa: E402
from django.http import HttpResponse, JsonResponse  # noqa: E402
from django.template import Context, Engine  # noqa: E402
from django.urls import path  # noqa: E402
from opentelemetry import trace  # noqa: E402

PARTNER = os.environ["PARTNER_URL"]
cache = redis.Redis.from_url(os.environ["REDIS_URL"])
session = requests.Session()
tracer = trace.get_tracer("backoffice")


class Customer(models.Model):
    name = models.TextField()
    email = models.TextField()
    city = models.TextField()
    tier = models.IntegerField()

    class Meta:
        app_label, db_table = "backoffice", "customers"


class Order(models.Model):
    customer = models.ForeignKey(Customer, models.CASCADE)
    status = models.TextField()
    total_cents = models.IntegerField()
    shipping_address = models.TextField()
    note = models.TextField()

    class Meta:
        app_label, db_table = "backoffice", "orders"


class Product(models.Model):
    name = models.TextField()
    price_cents = models.IntegerField()
    category = models.IntegerField()
    description = models.TextField()
    views = models.IntegerField()

    class Meta:
        app_label, db_table = "backoffice", "products"


class Item(models.Model):
    order = models.ForeignKey(Order, models.CASCADE)
    product = models.ForeignKey(Product, models.CASCADE)
    quantity = models.IntegerField()

    class Meta:
        app_label, db_table = "backoffice", "items"


class Stock(models.Model):
    product = models.OneToOneField(Product, models.CASCADE, primary_key=True)
    quantity = models.IntegerField()

    class Meta:
        app_label, db_table = "backoffice", "stock"


class Event(models.Model):
    kind = models.TextField()
    customer_id = models.IntegerField()
    payload = models.TextField()

    class Meta:
        app_label, db_table = "backoffice", "events"


class Audit(models.Model):
    what = models.TextField()
    customer_id = models.IntegerField()

    class Meta:
        app_label, db_table = "backoffice", "audit"


def health(request):
    with connection.cursor() as c:
        c.execute("SELECT 1")
    return JsonResponse({"ok": True})


def lines(request, order):
    items = Item.objects.filter(order_id__gte=order, order_id__lt=order + 5)
    return JsonResponse([[i.product.name, i.quantity] for i in items], safe=False)


def lines_joined(request, order):
    items = Item.objects.filter(order_id__gte=order, order_id__lt=order + 5).select_related("product")
    return JsonResponse([[i.product.name, i.quantity] for i in items], safe=False)


def orders_prefetched(request, customer):
    orders = Order.objects.filter(customer_id=customer).prefetch_related("item_set__product")
    return JsonResponse([[i.product.name for i in o.item_set.all()] for o in orders], safe=False)


def kept(request, customer):
    with transaction.atomic():
        for n in range(16):
            Event.objects.create(kind="click", customer_id=customer, payload=str(n))
    return JsonResponse({"kept": 16})


def kept_in_bulk(request, customer):
    Event.objects.bulk_create(Event(kind="click", customer_id=customer, payload=str(n)) for n in range(16))
    return JsonResponse({"kept": 16})


def approve(request, order):
    with transaction.atomic():
        Order.objects.filter(id=order).update(status="approved")
        Audit.objects.create(what="approved", customer_id=order % 2000 + 1)
        Event.objects.create(kind="approved", customer_id=order % 2000 + 1, payload="")
        Stock.objects.filter(product_id=order % 5000 + 1).update(quantity=models.F("quantity") - 1)
    return JsonResponse({"approved": order})


def availability(request, customer):
    answers = [session.get(f"{PARTNER}/warehouses/{n}/of/{customer}?ms=18").json() for n in ("north", "south")]
    points = session.get(f"{PARTNER}/loyalty/{customer}?ms=22").json()
    return JsonResponse([answers, points], safe=False)


def menu(request, customer):
    found = Item.objects.values("product__category").annotate(
        n=models.Count("id"), sold=models.Sum("quantity")).order_by("-sold")
    return JsonResponse(list(found), safe=False)


def ship(request, order):
    Order.objects.filter(id=order).update(status="sent")
    session.post(f"{PARTNER}/webhooks/shipping?ms=45", json={"order": order})
    return JsonResponse({"sent": order})


def track(request, order):
    place = session.get(f"{PARTNER}/carriers/{order}?ms=110&spread=40").json()
    return JsonResponse({"status": Order.objects.values("status").get(id=order), "place": place})


def picking(request, order):
    done = []
    for item in Item.objects.filter(order_id__gte=order, order_id__lt=order + 3):
        with tracer.start_as_current_span("pick item"):
            left = Stock.objects.get(product_id=item.product_id).quantity
            shelf = cache.get(f"shelf:{item.product_id}")
            done.append([left, str(shelf)])
    return JsonResponse(done, safe=False)


WORDS = Engine().from_string("{% for p in products %}{{ p.name|title|truncatewords:3 }}"
                             "{{ p.description|upper|wordwrap:20 }}{% endfor %}")


def page(request, least):
    products = list(Product.objects.filter(id__gt=least).order_by("id")[:250])
    return HttpResponse(WORDS.render(Context({"products": products}))[:5000])


def listed(request, number):
    orders = Order.objects.order_by("id")
    count = Order.objects.count()
    rows = orders.values("id", "status", "total_cents")[number * 20:number * 20 + 20]
    return JsonResponse({"count": count, "rows": list(rows)})


def print_slowly(request, number):
    with connection.cursor() as c:
        c.execute("SELECT name, pg_sleep(0.035) FROM products WHERE id = %s", [number])
        return JsonResponse({"name": c.fetchone()[0]})


def subscribe(request, customer):
    for attempt in range(4):
        answer = session.post(f"{PARTNER}/ledger/{customer}?ms=20&fail=1&code=429")
        if answer.status_code == 200:
            break
    Audit.objects.create(what="subscribed", customer_id=customer)
    return JsonResponse(answer.json())


def account(request, customer):
    session.get(f"{PARTNER}/accounts/{customer}?ms=18").json()
    rows = list(Order.objects.filter(customer_id=customer).values("id"))
    session.get(f"{PARTNER}/accounts/{customer}?ms=18").json()
    return JsonResponse(rows, safe=False)


def feed(request, least):
    rows = list(Product.objects.filter(id__gt=least).values("id", "name", "description")[:150])
    return JsonResponse(rows, safe=False)


def feed_tagged(request, least):
    rows = list(Product.objects.filter(id__gt=least).values("id", "name", "description")[:150])
    answer = JsonResponse(rows, safe=False)
    answer["Cache-Control"] = "public, max-age=30"
    return answer


def catalogue(request, page):
    rows = list(Product.objects.values("id", "name", "description", "price_cents", "category")[:500 + 200 * page])
    return JsonResponse(rows, safe=False)


def represent(request, customer):
    orders = list(Order.objects.filter(customer_id=customer).values())
    with tracer.start_as_current_span("OrderSerializer.to_representation"):
        for _ in range(600):
            answer = JsonResponse(orders, safe=False)
    return answer


def nap(request, number):
    Customer.objects.get(id=number)
    time.sleep(0.1)
    return JsonResponse({"ok": True})


urlpatterns = [
    path("health", health),
    path("orders/<int:order>/lines", lines),
    path("orders/<int:order>/lines-joined", lines_joined),
    path("customers/<int:customer>/orders", orders_prefetched),
    path("customers/<int:customer>/clicks", kept),
    path("customers/<int:customer>/clicks-in-bulk", kept_in_bulk),
    path("orders/<int:order>/approve", approve),
    path("customers/<int:customer>/availability", availability),
    path("customers/<int:customer>/menu", menu),
    path("orders/<int:order>/ship", ship),
    path("orders/<int:order>/track", track),
    path("orders/<int:order>/picking", picking),
    path("pages/<int:least>", page),
    path("listed/<int:number>", listed),
    path("print/<int:number>", print_slowly),
    path("customers/<int:customer>/subscribe", subscribe),
    path("customers/<int:customer>/account", account),
    path("feeds/<int:least>", feed),
    path("feeds-tagged/<int:least>", feed_tagged),
    path("catalogue/<int:page>", catalogue),
    path("customers/<int:customer>/represented", represent),
    path("naps/<int:number>", nap),
]

if __name__ == "__main__":
    import sys

    from django.core.wsgi import get_wsgi_application
    from werkzeug.serving import WSGIRequestHandler, run_simple

    # The project's routes are this module, which runs under another name.
    sys.modules["app"] = sys.modules["__main__"]

    WSGIRequestHandler.protocol_version = "HTTP/1.1"
    WSGIRequestHandler.log_request = lambda *_: None
    run_simple("127.0.0.1", int(os.environ["PORT"]), get_wsgi_application(), threaded=os.environ.get("THREADS", "many") == "many")
