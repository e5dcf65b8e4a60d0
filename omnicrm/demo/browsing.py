"""What customers did besides buying: the site's, the shops' and the telephone's events of 120 days."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, Q

from customers import events
from customers.imports.staging import copy_rows
from customers.models import Customer, Event
from inventory.models import Store

SOURCE = "demo"
DAYS = 120
PRODUCTS = (
    ("Linen shirt", "Clothes", 8900),
    ("Boiled wool coat", "Clothes", 24_900),
    ("Merino crew-neck", "Clothes", 9800),
    ("Corduroy trousers", "Clothes", 11_500),
    ("Washed linen sheets", "Home", 16_900),
    ("Merino blanket", "Home", 13_900),
    ("Beeswax candle", "Home", 1900),
    ("Olive wood board", "Home", 3400),
    ("Leather tote", "Bags", 18_500),
    ("Felt slippers", "Shoes", 5900),
)
REASONS = ("late delivery", "wrong size", "return", "question about care", "invoice")
COLUMNS = (
    "customer_id",
    "name",
    "channel",
    "source",
    "key",
    "occurred_at",
    "store_id",
    "order_ref",
    "properties",
)
# Last seen is the time of the latest event.
_SEEN = """
UPDATE customers_customer AS customer SET last_seen_at = latest.at
FROM (SELECT customer_id, max(occurred_at) AS at FROM customers_event
      WHERE source = %(source)s GROUP BY customer_id) AS latest
WHERE customer.id = latest.customer_id
      AND (customer.last_seen_at IS NULL OR customer.last_seen_at < latest.at)
"""


@transaction.atomic
def browse(count: int, *, now: datetime) -> int:
    """Write `count` events of the past, by COPY; none when there are some already."""
    if Event.objects.filter(source=SOURCE).exists():
        return 0
    stores = list(Store.objects.order_by("pk").values_list("pk", flat=True))
    copy_rows("customers_event", COLUMNS, _events(count, _people(now), stores, now))
    with connection.cursor() as cursor:
        cursor.execute(_SEEN, {"source": SOURCE})
    return count


def _people(now: datetime) -> list[tuple[Any, ...]]:
    """Id, orders of late, home store and since when, of everybody."""
    recently = Q(orders__placed_at__gte=now - timedelta(days=DAYS))
    people = Customer.objects.annotate(bought=Count("orders", filter=recently)).order_by("pk")
    return list(people.values_list("pk", "bought", "home_store", "created_at"))


def _events(
    count: int, people: list[tuple[Any, ...]], stores: list[int], now: datetime
) -> Iterator[tuple[Any, ...]]:
    random = Random(1210)  # noqa: S311 - the same every time
    weights = [0.15 + bought for _pk, bought, _store, _since in people]
    chosen = random.choices(people, weights, k=count)
    for number, (pk, _bought, home_store, since) in enumerate(chosen):
        days = min(DAYS, max((now - since).days, 0))
        at = max(since, now - timedelta(days=days * random.random() ** 1.2, minutes=random.randrange(1, 600)))
        name, channel, store, properties = _event(random, home_store or random.choice(stores))
        yield (pk, name, channel, SOURCE, str(number), min(at, now), store, "", properties)


def _event(random: Random, store_id: int) -> tuple[str, str, int | None, dict[str, Any]]:
    """One event: name, channel, store and properties."""
    product, category, price = random.choice(PRODUCTS)
    kind = random.choices(("view", "cart", "read", "visit", "call"), (62, 17, 9, 11, 1))[0]
    if kind == "view":
        return events.PRODUCT_VIEWED, "web", None, {"product": product, "category": category, "price": price}
    if kind == "cart":
        pieces = random.randrange(1, 4)
        cart = {"product": product, "pieces": pieces, "total_minor": price * pieces, "currency": "EUR"}
        return events.CART_UPDATED, "web", None, cart
    if kind == "read":
        return events.CONTENT_ENGAGED, "web", None, {"title": f"How we make it: {product}"}
    if kind == "visit":
        return events.STORE_VISITED, "store", store_id, {"asked_for": product}
    return events.SUPPORT_CALLED, "phone", None, {"reason": random.choice(REASONS)}
