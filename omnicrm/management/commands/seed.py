"""`manage.py seed`: any number of customers and events, made in the database, for tests at scale."""

from argparse import ArgumentTypeError
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection, transaction

from customers import events
from customers.models import Customer

CUSTOMERS_AT_ONCE = 100_000
EVENTS_AT_ONCE = 500_000
NAMES = [
    "Anna",
    "Bruno",
    "Carla",
    "Dario",
    "Elena",
    "Fabio",
    "Giada",
    "Hugo",
    "Irene",
    "Jonas",
    "Karin",
    "Luca",
]
SURNAMES = [
    "Rossi",
    "Bianchi",
    "Verdi",
    "Ferrari",
    "Weber",
    "Martin",
    "Smith",
    "Novak",
    "Costa",
    "Greco",
    "Riva",
]
CITIES = ["Milano", "Roma", "Torino", "Napoli", "Bologna", "Genova", "Berlin", "Lyon", "London"]
EVENTS = [events.PRODUCT_VIEWED, events.CART_UPDATED, events.STORE_VISITED, events.CONTENT_ENGAGED]

# Foreign keys are checked when the transaction ends: one statement writes people and all that is theirs.
_CUSTOMERS = """
WITH person AS (
    INSERT INTO customers_customer
        (public_id, status, first_name, last_name, language, city, country, timezone, traits, created_at)
    SELECT gen_random_uuid(), 'known', (%(names)s::text[])[1 + n %% array_length(%(names)s::text[], 1)],
           (%(surnames)s::text[])[1 + n / 7 %% array_length(%(surnames)s::text[], 1)],
           CASE WHEN n %% 5 = 0 THEN 'en' ELSE 'it' END,
           (%(cities)s::text[])[1 + n / 3 %% array_length(%(cities)s::text[], 1)], 'IT', '',
           jsonb_build_object('shoe_size', 35 + n %% 12), now() - random() * interval '1500 days'
    FROM generate_series(1, %(count)s) AS n
    RETURNING id, created_at
),
identified AS (
    INSERT INTO customers_identifier (customer_id, kind, value)
    SELECT id, 'user_id', 'S' || id FROM person
    UNION ALL SELECT id, 'email', 'seed' || id || '@seed.example' FROM person
    UNION ALL SELECT id, 'phone', '+3939' || lpad(id::text, 8, '0') FROM person WHERE id %% 10 < 7
),
asked AS (
    INSERT INTO customers_consentevent
        (customer_id, channel, purpose, state, source, wording, evidence, effective_at)
    SELECT id, channel, 'marketing', CASE WHEN id %% 10 < yes THEN 'granted' ELSE 'denied' END,
           'seed', 'seed', 'manage.py seed', created_at
    FROM person CROSS JOIN (VALUES ('email', 7), ('sms', 4)) AS wanted(channel, yes)
)
SELECT count(*) FROM person
"""

# Few people do much: the square of a draw leans to the first. Uses the primary key of customers.
_EVENTS = """
INSERT INTO customers_event (customer_id, name, channel, source, key, occurred_at, order_ref, properties)
SELECT person.id, (%(names)s::text[])[1 + n %% array_length(%(names)s::text[], 1)], 'web', 'seed',
       %(run)s || ':' || n, now() - drawn.age * interval '365 days', '',
       jsonb_build_object('price', n %% 20000)
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
CROSS JOIN LATERAL (SELECT random() + 0 * n AS who, random() + 0 * n AS age) AS drawn
CROSS JOIN LATERAL (
    SELECT id FROM customers_customer
    WHERE id >= %(low)s + floor((%(high)s - %(low)s + 1) * drawn.who ^ 2)::bigint ORDER BY id LIMIT 1
) AS person
"""


def _count(text: str) -> int:
    number = int(text.replace("_", "").replace(",", ""))
    if number < 0:
        raise ArgumentTypeError("must not be negative")
    return number


class Command(BaseCommand):
    help = "Adds customers with addresses and consents, and events of a year, made by the database itself."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--customers", type=_count, required=True, help="how many to add")
        parser.add_argument("--events", type=_count, default=0, help="how many to spread over all customers")

    def handle(self, *args: Any, customers: int, events: int, **options: Any) -> None:
        for size, done in _portions(customers, CUSTOMERS_AT_ONCE):
            lists = {"names": NAMES, "surnames": SURNAMES, "cities": CITIES}
            _run(_CUSTOMERS, lists | {"count": size})
            self.stdout.write(f"  {done:,} of {customers:,} customers")
        ids = Customer.objects.order_by("pk").values_list("pk", flat=True)
        if events and not ids.exists():
            raise CommandError("Events need customers: add some with --customers.")
        run = uuid4().hex[:12]
        for size, done in _portions(events, EVENTS_AT_ONCE):
            span = {"low": ids.first(), "high": ids.last(), "first": done - size + 1, "last": done}
            _run(_EVENTS, span | {"names": EVENTS, "run": run})
            self.stdout.write(f"  {done:,} of {events:,} events")
        with connection.cursor() as cursor:
            for table in ("customer", "identifier", "consentevent", "consent", "event"):
                cursor.execute(f"ANALYZE customers_{table}")
        self.stdout.write(f"Added {customers:,} customers and {events:,} events.")


def _portions(total: int, at_once: int) -> Iterator[tuple[int, int]]:
    """Sizes of the portions, and how many are done after each."""
    for start in range(0, total, at_once):
        size = min(at_once, total - start)
        yield size, start + size


def _run(sql: str, params: dict[str, Any]) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, params)
