"""A retailer of any size, made by SQL alone: what every measurement at a million customers stands on.

`python -m bench.world --customers 1000000 --events 5000000` fills the database the settings name
(`OMNICRM_DATABASE` chooses another in the embedded server, created when missing). Every row follows from
the seed and its own number, so two worlds of one size, seed and day are the same to the last column.
"""

import argparse
import json
import logging
import os
import time
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from psycopg import sql


def _words(text: str) -> list[str]:
    return text.split()


DAYS = 730  # How far back the events go.
ESTABLISHED = 0.7  # The share of customers who were here before the first event.
STRIDE = 7_368_787  # A prime: visits every customer once while looking like chance.
REUSABLE = timedelta(days=7)  # "The last 90 days" of an older world would be half empty.
STORES = 40
CITIES = ("Milano", "Roma", "Torino", "Bologna", "Napoli", "Firenze", "Verona", "Genova", "Bari", "Padova")

# Share of all events, name. A fifth are orders, so 5M events come with about 1M orders.
EVENTS: tuple[tuple[float, str], ...] = (
    (0.34, "Product Viewed"),
    (0.20, "Order Completed"),
    (0.10, "Product List Viewed"),
    (0.09, "Cart Updated"),
    (0.06, "Checkout Started"),
    (0.06, "Content Engaged"),
    (0.05, "Store Visited"),
    (0.04, "App Opened"),
    (0.02, "Wishlist Updated"),
    (0.02, "Coupon Applied"),
    (0.01, "Support Called"),
    (0.01, "Survey Answered"),
)
FIRST_NAMES = _words(
    "Ada Aldo Anna Bianca Bruno Carla Carlo Chiara Dario Diana Elena Elio Emma Enzo Fabio Gaia Gina Giulia"
    " Ines Irene Ivo Laura Leo Lia Luca Lucia Marco Maria Marta Mia Nadia Nico Nina Nora Olga Paola Paolo"
    " Piero Rita Rosa Sara Silvia Sofia Teo Tina Ugo Vera Vito Zoe Zita"
)
LAST_NAMES = _words(
    "Amato Barbieri Basile Bianchi Bruno Caruso Conti Costa Damico Deluca Esposito Fabbri Farina Ferrari"
    " Ferri Fontana Galli Gallo Gatti Giordano Greco Grassi Leone Lombardi Longo Mancini Marchetti Mariani"
    " Marini Marino Martini Mazza Monti Morelli Moretti Moro Neri Orlando Palumbo Parisi Pellegrini Poli"
    " Ricci Rinaldi Riva Rizzi Romano Rossi Russo Sala Sanna Santoro Serra Silvestri Testa Valenti Villa"
    " Vitale Vitali Zanetti"
)

# A number in [0, 1) that only depends on the row and on what is asked about it.
_DICE = """
CREATE OR REPLACE FUNCTION pg_temp.dice(subject bigint, about integer) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (hashint8extended(subject, {seed}::bigint * 1000 + about) & 9007199254740991)
           / 9007199254740992.0::double precision
$$;
CREATE OR REPLACE FUNCTION pg_temp.pick(options text[], subject bigint, about integer) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT options[1 + floor(cardinality(options) * pg_temp.dice(subject, about))::integer]
$$;
"""

# In order of time, as a log grows; some customers do much and most do little.
_EVENTS = """
INSERT INTO customers_event (id, customer_id, name, channel, source, key, occurred_at, received_at, store_id,
                             order_ref, properties)
SELECT n, customer_id, name,
       CASE WHEN name = 'Store Visited' THEN 'store' WHEN name = 'Support Called' THEN 'phone'
            WHEN name = 'App Opened' THEN 'app' ELSE pg_temp.pick('{{web,web,store,app}}', n, 3) END,
       CASE name WHEN 'Order Completed' THEN 'orders:shop' ELSE 'web' END,
       lpad(n::text, 10, '0'), occurred_at, occurred_at,
       CASE WHEN name = 'Store Visited' OR pg_temp.dice(n, 4) < 0.25
            THEN (%(stores)s::bigint[])[1 + floor({stores} * pg_temp.dice(n, 5))::integer] END,
       CASE name WHEN 'Order Completed' THEN lpad(n::text, 10, '0') ELSE '' END,
       CASE name
           WHEN 'Order Completed' THEN jsonb_build_object(
               'total_minor', 900 + floor(40000 * power(pg_temp.dice(n, 6), 3))::integer, 'currency', 'EUR',
               'quantity', 1 + floor(4 * power(pg_temp.dice(n, 7), 2))::integer)
           WHEN 'Survey Answered' THEN jsonb_build_object('score', floor(11 * pg_temp.dice(n, 6))::integer)
           WHEN 'Support Called' THEN jsonb_build_object(
               'topic', pg_temp.pick('{{delivery,return,invoice,product}}', n, 6))
           ELSE jsonb_build_object(
               'product', 'P-' || floor(5000 * pg_temp.dice(n, 6))::integer,
               'category', pg_temp.pick('{{shoes,shirts,coats,bags,home,kids,beauty,sport}}', n, 7),
               'price', round((5 + 200 * power(pg_temp.dice(n, 8), 2))::numeric, 2))
       END
FROM (SELECT n, %(since)s::timestamptz + {days} * interval '1 day' * ((n - 0.5) / {events}) AS occurred_at,
             1 + mod(floor({customers} * ({established} + {arriving} * (n - 0.5) / {events})
                           * power(pg_temp.dice(n, 1), 1.5))::bigint * {stride}, {customers}) AS customer_id,
             (%(names)s::text[])[1 + width_bucket(pg_temp.dice(n, 2), %(shares)s::double precision[])] AS name
      FROM generate_series(1, {events}) AS n) AS drawn
"""

_ORDERS = """
INSERT INTO orders_order (source, number, customer_id, status, placed_at, total_minor, currency, quantity,
                          channel, store_id, created_at)
SELECT 'shop', key, customer_id, CASE WHEN pg_temp.dice(id, 9) < 0.03 THEN 'cancelled' ELSE 'completed' END,
       occurred_at, (properties ->> 'total_minor')::bigint, 'EUR', (properties ->> 'quantity')::integer,
       channel, store_id, occurred_at
FROM customers_event WHERE name = 'Order Completed' ORDER BY id
"""

# `slot` is the place in the order of arrival, which is what _EVENTS draws from.
_CUSTOMERS = """
INSERT INTO customers_customer (id, public_id, status, first_name, last_name, language, birth_date, city,
                                country, timezone, home_store_id, traits, created_at, updated_at,
                                last_seen_at)
SELECT id, md5('{seed}:' || id)::uuid,
       CASE WHEN pg_temp.dice(id, 10) < 0.03 THEN 'anonymous' ELSE 'known' END,
       pg_temp.pick(%(first_names)s, id, 11), pg_temp.pick(%(last_names)s, id, 12),
       CASE country WHEN 'IT' THEN 'it' WHEN 'FR' THEN 'fr' WHEN 'DE' THEN 'de' WHEN 'ES' THEN 'es'
                    WHEN '' THEN '' ELSE 'en' END,
       CASE WHEN pg_temp.dice(id, 13) < 0.7
            THEN date '1945-01-01' + floor(22000 * pg_temp.dice(id, 14))::integer END,
       CASE country WHEN 'IT' THEN pg_temp.pick(%(cities)s, id, 15) ELSE '' END, country,
       CASE country WHEN 'IT' THEN 'Europe/Rome' WHEN 'FR' THEN 'Europe/Paris' WHEN 'DE' THEN 'Europe/Berlin'
                    WHEN 'ES' THEN 'Europe/Madrid' WHEN 'GB' THEN 'Europe/London'
                    WHEN 'US' THEN 'America/New_York' ELSE '' END,
       CASE WHEN pg_temp.dice(id, 17) < 0.7
            THEN (%(stores)s::bigint[])[1 + floor({stores} * pg_temp.dice(id, 18))::integer] END,
       jsonb_strip_nulls(jsonb_build_object(
           'tier', (%(tiers)s::text[])[1 + width_bucket(pg_temp.dice(id, 19), ARRAY[0.05, 0.2])],
           'shoe_size', CASE WHEN pg_temp.dice(id, 20) < 0.5
                             THEN 35 + floor(13 * pg_temp.dice(id, 21))::integer END,
           'favourite', CASE WHEN pg_temp.dice(id, 22) < 0.6 THEN
               pg_temp.pick('{{shoes,shirts,coats,bags,home,kids,beauty,sport}}', id, 23) END)),
       created_at, created_at, seen.at
FROM (SELECT id, (%(countries)s::text[])[1 + width_bucket(pg_temp.dice(id, 16),
                     ARRAY[0.60, 0.70, 0.80, 0.88, 0.93, 0.97])] AS country,
             CASE WHEN slot < {customers} * {established}
                  THEN %(since)s::timestamptz - 1095 * interval '1 day' * pg_temp.dice(id, 24)
                  ELSE %(since)s::timestamptz + {days} * interval '1 day'
                       * ((slot - {customers} * {established}) / ({customers} * {arriving})) END AS created_at
      FROM (SELECT id, mod((id - 1) * {inverse}, {customers}) AS slot
            FROM generate_series(1::bigint, {customers}) AS id) AS arrived) AS drawn
LEFT JOIN (SELECT customer_id, max(occurred_at) AS at FROM customers_event GROUP BY customer_id) AS seen
    ON seen.customer_id = drawn.id
"""

_IDENTIFIERS = """
INSERT INTO customers_identifier (customer_id, kind, value, verified_at, created_at)
SELECT id, kind, value, CASE WHEN pg_temp.dice(id, 30) < 0.5 THEN created_at + interval '1 hour' END,
       created_at
FROM (
    SELECT id, created_at, 'email' AS kind, 'c' || id || '@' ||
           pg_temp.pick('{{posta.example,mail.example,inbox.example,example.org}}', id, 31) AS value
    FROM customers_customer WHERE pg_temp.dice(id, 32) < 0.95
    UNION ALL
    SELECT id, created_at, 'email', 'second' || id || '@example.net'
    FROM customers_customer WHERE pg_temp.dice(id, 33) < 0.05
    UNION ALL
    SELECT id, created_at, 'phone', '+393' || lpad(id::text, 9, '0')
    FROM customers_customer WHERE pg_temp.dice(id, 34) < 0.60
    UNION ALL
    SELECT id, created_at, 'card', '2900' || lpad(id::text, 9, '0')
    FROM customers_customer WHERE pg_temp.dice(id, 35) < 0.30
) AS known
"""

# What they said first; then, for some, that they changed their mind. The trigger keeps the projection.
_CONSENTS = """
INSERT INTO customers_consentevent (customer_id, channel, purpose, state, source, wording, evidence,
                                    effective_at, recorded_at)
SELECT id, channel, purpose, CASE WHEN pg_temp.dice(id, about + 1) < yes THEN 'granted' ELSE 'denied' END,
       'sign-up form', '2024-05', 'page ' || id, created_at, created_at
FROM customers_customer, (VALUES
    ('email', 'marketing', 40, 0.85, 0.88), ('sms', 'marketing', 43, 0.55, 0.80),
    ('', 'profiling', 46, 0.50, 0.90), ('', 'open_tracking', 49, 0.40, 0.90)
) AS asked(channel, purpose, about, answered, yes)
WHERE pg_temp.dice(id, about) < answered
"""
_WITHDRAWN = """
INSERT INTO customers_consentevent (customer_id, channel, purpose, state, source, wording, evidence,
                                    effective_at, recorded_at)
SELECT consent.customer_id, consent.channel, consent.purpose, 'revoked', 'preference page', '',
       'page ' || consent.customer_id, moment.at, moment.at
FROM customers_consent AS consent
CROSS JOIN LATERAL (
    SELECT effective_at + (%(at)s - effective_at) * pg_temp.dice(consent.customer_id, 52) AS at
) AS moment
WHERE consent.state = 'granted' AND consent.purpose = 'marketing'
  AND pg_temp.dice(consent.customer_id, CASE channel WHEN 'email' THEN 53 ELSE 54 END) < 0.08
"""
_SUPPRESSIONS = """
INSERT INTO customers_suppression (channel, address_hash, reason, created_at)
SELECT CASE kind WHEN 'email' THEN 'email' ELSE 'sms' END, {hash},
       pg_temp.pick('{{bounced,bounced,complained,unsubscribed,manual}}', id, 60),
       created_at + (%(at)s - created_at) * pg_temp.dice(id, 61)
FROM customers_identifier WHERE kind IN ('email', 'phone') AND pg_temp.dice(id, 62) < 0.015
"""

FILLED = ("customers_event", "orders_order", "customers_customer", "customers_identifier")
TABLES = (*FILLED, "customers_consentevent", "customers_consent", "customers_suppression")


def build(customers: int = 1_000_000, events: int = 5_000_000, seed: int = 1) -> bool:
    """Have a world of this size in Django's database; whether it had to be built.

    A world of the same size and seed, a week old at most, is used again; another one is replaced. Raises
    SystemExit in a database that has customers and is no world. Needs a PostgreSQL superuser.
    """
    from django.utils.timezone import now

    wanted = {"customers": customers, "events": events, "seed": seed}
    found = _marker()
    is_same = {name: found.get(name) for name in wanted} == wanted
    if is_same and now() - datetime.fromisoformat(found["at"]) < REUSABLE:
        return False
    _refuse_real_data(found)
    at = now().replace(microsecond=0)
    with _Builder(customers, events, seed, at) as builder:
        builder.run()
    _mark(wanted | {"at": at.isoformat()})
    return True


class _Builder:
    """Fills the empty tables without their indexes and foreign keys, which come back at the end."""

    def __init__(self, customers: int, events: int, seed: int, at: datetime) -> None:
        from customers.addresses import address_hash_params, address_hash_sql

        self.sizes: dict[str, Any] = {
            "customers": customers,
            "events": events,
            "seed": seed,
            "days": DAYS,
            "stores": STORES,
            "established": ESTABLISHED,
            "arriving": round(1 - ESTABLISHED, 6),
            "stride": STRIDE,
            "inverse": pow(STRIDE, -1, customers),
            "hash": address_hash_sql("value"),
        }
        shares = [share for share, _name in EVENTS]
        self.params: dict[str, Any] = {
            "at": at,
            "since": at - timedelta(days=DAYS),
            "names": [name for _share, name in EVENTS],
            "shares": [round(sum(shares[: n + 1]), 6) for n in range(len(shares) - 1)],
            "first_names": FIRST_NAMES,
            "last_names": LAST_NAMES,
            "cities": list(CITIES),
            "countries": ["IT", "FR", "DE", "ES", "GB", "US", ""],
            "tiers": ["gold", "silver", "bronze"],
            **address_hash_params(),
        }
        self.indexes: list[tuple[str, str]] = []

    def __enter__(self) -> "_Builder":
        self._execute("SET synchronous_commit = off")
        self._execute("SET maintenance_work_mem = '512MB'")
        self._execute("SET work_mem = '256MB'")
        self._execute(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY CASCADE")
        self.indexes = self._fetch(_PLAIN_INDEXES, {"tables": list(TABLES)})
        for name, _definition in self.indexes:
            self._execute(f'DROP INDEX "{name}"')
        return self

    def __exit__(self, *error: object) -> None:
        self._execute("SET session_replication_role = origin")
        for _name, definition in self.indexes:
            self._execute(definition)
        for table in FILLED:
            self._execute(_NEXT_ID.format(table=table))
        self._execute("RESET ALL")

    def run(self) -> None:
        """Every table, in the order in which one follows from the other; then what the planner knows."""
        self.params["stores"] = _stores()
        self._execute(_DICE.format(**self.sizes))
        self._execute("SET session_replication_role = replica")  # Valid by construction; no history rows.
        for statement in (_EVENTS, _ORDERS, _CUSTOMERS, _IDENTIFIERS):
            self._fill(statement)
        self._execute("SET session_replication_role = origin")
        for statement in (_CONSENTS, _WITHDRAWN, _SUPPRESSIONS):
            self._fill(statement)

    def _fill(self, statement: str) -> None:
        self._execute(statement.format(**self.sizes), self.params)

    def _execute(self, statement: str, params: dict[str, Any] | None = None) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, params)

    def _fetch(self, statement: str, params: dict[str, Any]) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(statement, params)
            return cursor.fetchall()


_NEXT_ID = "SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"
# Those that no constraint owns: a unique index grows at its right edge here, and is needed by the trigger.
_PLAIN_INDEXES = """
SELECT indexname, indexdef FROM pg_indexes
WHERE schemaname = 'public' AND tablename = ANY(%(tables)s)
  AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexname::regclass)
ORDER BY indexname
"""


def _stores() -> list[int]:
    from inventory.models import Store

    codes = [f"world-{number:02}" for number in range(1, STORES + 1)]
    Store.objects.bulk_create(
        (
            Store(
                code=code,
                name=f"{CITIES[n % len(CITIES)]} {n + 1}",
                city=CITIES[n % len(CITIES)],
                country="IT",
            )
            for n, code in enumerate(codes)
        ),
        ignore_conflicts=True,
    )
    return list(Store.objects.filter(code__in=codes).order_by("code").values_list("pk", flat=True))


def _marker() -> dict[str, Any]:
    """What world this database says it is; empty when it is none."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
        )
        said = cursor.fetchone()[0] or ""
    prefix, _separator, written = said.partition("bench world ")
    found: dict[str, Any] = json.loads(written) if written and not prefix else {}
    return found


def _mark(world: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE)")
        name = sql.Identifier(connection.settings_dict["NAME"])
        said = sql.Literal(f"bench world {json.dumps(world)}")
        cursor.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(name, said))


def _refuse_real_data(found: dict[str, Any]) -> None:
    from customers.models import Customer

    if not found and Customer.objects.exists():
        raise SystemExit("This database has customers and is no world of the bench: choose another one.")
    _mark_as_begun()


def _mark_as_begun() -> None:
    """A build that is broken off leaves a world nobody takes for finished, and that may be replaced."""
    with connection.cursor() as cursor:
        name = sql.Identifier(connection.settings_dict["NAME"])
        cursor.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(name, sql.Literal('bench world {"begun": true}'))
        )


def connect() -> None:
    """Set Django up on the embedded services or those the environment names, with the tables in place."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "omnicrm.settings")
    os.environ.setdefault("LOG_LEVEL", "WARNING")
    from omnicrm import embedded

    embedded.start()
    import django

    django.setup()
    logging.disable(logging.INFO)
    _create_database()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def _create_database() -> None:
    """The embedded server makes only its own database; another one chosen by name is made here."""
    import psycopg
    from django.conf import settings

    if not settings.IS_EMBEDDED:
        return
    there = settings.DATABASES["default"]
    host, user = there["HOST"], there["USER"]
    with psycopg.connect(host=host, user=user, dbname="postgres", autocommit=True) as server:
        query = "SELECT 1 FROM pg_database WHERE datname = %s"
        if not server.execute(query, [there["NAME"]]).fetchone():
            server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(there["NAME"])))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    connect()
    started = time.monotonic()
    built = build(chosen.customers, chosen.events, chosen.seed)
    print(f"{'built' if built else 'already there'} in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
