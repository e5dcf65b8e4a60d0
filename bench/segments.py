"""Segments at a million customers: against the best SQL a hand would write on the same indexes.

Everything is asked of the world as it is; what writes is rolled back. The best hand is the fastest, in each
round, of several statements under two settings of the planner.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, Q
from django.utils.timezone import now

from customers.contact import contacts_params, contacts_sql
from customers.models import Customer
from segments import membership, questions, services
from segments.compiler import Compiled, compile_tree, in_segment
from segments.limits import TooSlow, time_limit
from segments.models import Segment
from segments.tree import parse_tree

from . import database, worlds
from .harness import Contestant, Limit, Measure, Options, Run, stopwatch

OURS, HAND, ORM = "OmniCRM", "best hand-written SQL", "Django ORM, its default indexes"
REPEATS = 5  # Answers of one turn.
LAST_90_DAYS = {"type": "last", "days": 90}
THREE = {
    "type": "all",
    "nodes": [
        {"type": "attribute", "name": "country", "op": "is", "value": "IT"},
        {"type": "trait", "key": "tier", "op": "is", "value": "gold"},
        {"type": "orders", "measure": "count", "op": "at_least", "value": 2, "window": LAST_90_DAYS},
    ],
}
RECENT = {
    "type": "orders",
    "measure": "count",
    "op": "at_least",
    "value": 1,
    "window": {"type": "last", "days": 60},
}
BOMB = {
    "type": "any",
    "nodes": [
        {
            "type": "all",
            "nodes": [
                {"type": "event", "name": "Product Viewed", "where": [wildcard]},
                {"type": "sequence", "first": "Product Viewed", "then": "Cart Updated", "within": 365}
                | {"then_where": [wildcard]},
            ],
        }
        for wildcard in ({"key": "product", "op": "contains", "value": f"{n}9{n}"} for n in range(25))
    ],
}


def _customers(options: Options) -> int:
    return options.size(100_000, 1_000_000)


def _sizes(options: Options) -> str:
    asked = "" if options.full else " (the issue: 1,000,000 and 5,000,000)"
    customers = _customers(options)
    return f"{customers:,} customers, {worlds.EVENTS_PER_CUSTOMER * customers:,} events{asked}"


def _ids(sql: str, params: dict[str, Any]) -> set[int]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return {row[0] for row in cursor.fetchall()}


# --- three conditions -------------------------------------------------------------------------------

_CUSTOMER = """country = 'IT' AND traits ->> 'tier' = 'gold'
    AND status IN ('anonymous', 'known') AND created_at <= %(at)s"""
_BUYERS = """SELECT customer_id FROM orders_order
    WHERE placed_at > %(since)s AND placed_at <= %(at)s AND status = 'completed'"""
_TWICE = "GROUP BY customer_id HAVING count(*) >= 2"
HANDS = (
    f"""SELECT id FROM customers_customer JOIN ({_BUYERS} {_TWICE}) AS buyer ON customer_id = id
        WHERE {_CUSTOMER}""",
    f"""WITH buyer AS MATERIALIZED ({_BUYERS} {_TWICE})
        SELECT id FROM buyer JOIN customers_customer ON id = customer_id WHERE {_CUSTOMER}""",
    f"""WITH gold AS MATERIALIZED (SELECT id FROM customers_customer WHERE {_CUSTOMER})
        {_BUYERS} AND customer_id IN (SELECT id FROM gold) {_TWICE}""",
    f"""SELECT id FROM customers_customer WHERE {_CUSTOMER} AND 2 <= (
        SELECT count(*) FROM orders_order WHERE customer_id = customers_customer.id
        AND placed_at > %(since)s AND placed_at <= %(at)s AND status = 'completed')""",
)


@contextmanager
def three_conditions(options: Options) -> Iterator[list[Contestant]]:
    world = worlds.prepared(_customers(options))
    plain = database.prepared(f"{world}_default_indexes", _only_djangos_indexes, __file__, on=world)
    at = now()
    expected: set[int] = set()

    def check(found: set[int]) -> None:
        expected.update(found if not expected else ())
        if found != expected or not found:
            raise AssertionError(f"{len(found)} people, not the {len(expected)} of the first.")

    def ours() -> set[int]:
        with time_limit():
            compiled = compile_tree(parse_tree(THREE), at)
            return _ids(compiled.sql, compiled.params)

    def orm() -> set[int]:
        with database.using(plain):
            return set(_by_orm(at).values_list("pk", flat=True))

    with database.using(world):
        best = _best_hand(at)
        yield [
            Contestant(OURS, lambda number: _turn(ours, check)),
            Contestant(HAND, lambda number: _turn(best, check)),
            Contestant(ORM, lambda number: _turn(orm, check)),
        ]


def _best_hand(at: datetime) -> Callable[[], set[int]]:
    """The fastest by the median of some tries in turn, as PostgreSQL comes and as segments set it."""
    params = {"at": at, "since": at - timedelta(days=90)}

    def ask(hand: str, is_tuned: bool) -> set[int]:
        with time_limit() if is_tuned else nullcontext():
            return _ids(hand, params)

    spent: dict[tuple[str, bool], list[float]] = {}
    for _ in range(REPEATS + 2):
        for hand in HANDS:
            for is_tuned in (False, True):
                with stopwatch() as watch:
                    ask(hand, is_tuned)
                spent.setdefault((hand, is_tuned), []).append(watch.seconds)
    best = min(spent, key=lambda one: statistics.median(spent[one]))
    return lambda: ask(*best)


def _turn(ask: Callable[[], set[int]], check: Callable[[set[int]], None]) -> Run:
    """Some answers, one after the other: one alone is soon over and much disturbed."""
    with stopwatch() as watch:
        found = [ask() for _ in range(REPEATS)]
    for people in found:
        check(people)
    return watch.run(REPEATS)


def _by_orm(at: datetime) -> Any:
    bought = Q(orders__placed_at__gt=at - timedelta(days=90), orders__placed_at__lte=at)
    bought &= Q(orders__status="completed")
    gold = Customer.objects.current().filter(country="IT", traits__tier="gold", created_at__lte=at)
    return gold.annotate(bought=Count("orders", filter=bought)).filter(bought__gte=2)


_OURS_ALONE = """
SELECT format('DROP INDEX %I', indexname) FROM pg_indexes
WHERE schemaname = 'public' AND tablename IN ('customers_customer', 'customers_event', 'orders_order')
  AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexname::regclass)
"""
_DJANGOS = (
    "CREATE INDEX ON customers_customer (home_store_id)",
    "CREATE INDEX ON customers_event (customer_id)",
    "CREATE INDEX ON customers_event (store_id)",
    "CREATE INDEX ON orders_order (customer_id)",
    "CREATE INDEX ON orders_order (store_id)",
)


def _only_djangos_indexes() -> None:
    """Primary keys, unique constraints and one index a foreign key: what nobody had to think of."""
    with connection.cursor() as cursor:
        cursor.execute(_OURS_ALONE)
        for statement in [row[0] for row in cursor.fetchall()] + list(_DJANGOS):
            cursor.execute(statement)


# --- one person, the stored count, a bomb -------------------------------------------------------------

CHECK, COUNT, STOP = "is this person in it", "how many are in it", "a segment bomb, stopped"


@contextmanager
def answers(options: Options) -> Iterator[list[Contestant]]:
    with database.using(worlds.prepared(_customers(options))):
        people = list(Customer.objects.current().order_by("?").values_list("pk", flat=True)[:100])
        with _rolled_back():
            segment = services.create_segment(name="Bench: three", definition=THREE, by=None)
            bomb = services.create_segment(name="Bench: bomb", definition=BOMB, by=None)
            yield [
                Contestant(CHECK, lambda number: _in_ms(lambda one: _check(segment, one), people)),
                Contestant(COUNT, lambda number: _in_ms(lambda one: _stored(segment), people)),
                Contestant(STOP, lambda number: _stopped(bomb), rounds=1),
            ]


def _check(segment: Segment, person: int) -> None:
    questions.explain(in_segment(segment.pk), person)


def _stored(segment: Segment) -> None:
    Segment.objects.filter(pk=segment.pk).values_list("match_count", flat=True).get()


def _in_ms(ask: Callable[[int], None], people: list[int]) -> Run:
    """Milliseconds of one of a hundred: of processor time, ours and PostgreSQL's, and until the answer."""
    spent, computed = [], database.cpu_seconds() + time.process_time()
    with stopwatch() as watch:
        for person in people:
            started = time.perf_counter()
            ask(person)
            spent.append((time.perf_counter() - started) * 1000)
    computed = (database.cpu_seconds() + time.process_time() - computed) / len(people) * 1000
    return watch.run(len(people), ms=computed, waited=statistics.median(spent))


def _stopped(bomb: Segment) -> Run:
    stopped = 0.0
    with stopwatch() as watch:
        try:
            services.count_segment(bomb.pk)
        except TooSlow:
            stopped = 1.0
    return watch.run(1, stopped=stopped)


@contextmanager
def _rolled_back() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


# --- a refresh ----------------------------------------------------------------------------------------

REFRESH, QUERY, REPLACE = "refresh by the difference", "its query alone", "delete and insert"
_BUY = """
INSERT INTO orders_order (source, number, customer_id, status, placed_at, total_minor, currency, quantity,
                          channel)
SELECT 'bench', id, id, 'completed', now() - interval '1 hour', 1000, 'EUR', 1, 'web'
FROM customers_customer WHERE id %% 125 = %(rest)s
"""


@contextmanager
def refreshes(options: Options) -> Iterator[list[Contestant]]:
    with database.using(worlds.prepared(_customers(options))):
        yield [
            Contestant(REFRESH, lambda number: _changed(number, _by_difference)),
            Contestant(QUERY, lambda number: _changed(number, _query)),
            Contestant(REPLACE, lambda number: _changed(number, _by_replacing)),
        ]


def _changed(number: int, act: Callable[[Segment, datetime], int]) -> Run:
    """The members as of an hour ago; then one customer in 125 buys, most of them for the first time."""
    with _rolled_back():
        segment = services.create_segment(name="Bench: recent", definition=RECENT, by=None)
        with time_limit(10**6):
            membership.keep_difference(segment.pk, now())
        with connection.cursor() as cursor:
            cursor.execute(_BUY, {"rest": number})
            cursor.execute("ANALYZE segments_membership")
        with stopwatch() as watch, time_limit(10**6):
            found = act(segment, now())
        if found != len(_ids(*_asked(segment, now()))):
            raise AssertionError("Not the people the rules find.")
        return watch.run(found)


def _asked(segment: Segment, at: datetime) -> tuple[str, dict[str, Any]]:
    compiled: Compiled = compile_tree(in_segment(segment.pk), at)
    return compiled.sql, compiled.params


def _query(segment: Segment, at: datetime) -> int:
    sql, params = _asked(segment, at)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM ({sql}) AS found", params)
        return int(cursor.fetchone()[0])


def _by_difference(segment: Segment, at: datetime) -> int:
    return membership.keep_difference(segment.pk, at).matches


def _by_replacing(segment: Segment, at: datetime) -> int:
    sql, params = _asked(segment, at)
    params |= {"segment": segment.pk, "at": at}
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM segments_membership WHERE segment_id = %(segment)s", params)
        cursor.execute(
            "INSERT INTO segments_membership (segment_id, customer_id, entered_at)"
            f" SELECT %(segment)s, id, %(at)s FROM ({sql}) AS found",
            params,
        )
        return cursor.rowcount


# --- whom channels reach ------------------------------------------------------------------------------

SEARCHED = "one index search per person"
_SEARCHED = """
SELECT people.id AS customer_id, wanted.channel, best.value AS address, consent.state AS consent,
       suppression.reason AS suppression
FROM customers_customer AS people
CROSS JOIN (VALUES ('email', 'email'), ('sms', 'phone')) AS wanted(channel, kind)
LEFT JOIN LATERAL (
    SELECT value FROM customers_identifier WHERE customer_id = people.id AND kind = wanted.kind
    ORDER BY verified_at DESC NULLS LAST, id LIMIT 1
) AS best ON true
LEFT JOIN LATERAL (
    SELECT state FROM customers_consent WHERE customer_id = people.id AND channel = wanted.channel
    AND purpose = 'marketing' LIMIT 1
) AS consent ON true
LEFT JOIN LATERAL (
    SELECT reason FROM customers_suppression WHERE channel = wanted.channel AND address_hash = {hash} LIMIT 1
) AS suppression ON true
"""


@contextmanager
def reach(options: Options) -> Iterator[list[Contestant]]:
    from customers.addresses import address_hash_sql

    with database.using(worlds.prepared(_customers(options))):
        yield [
            Contestant(OURS, lambda number: _reached(contacts_sql("customers_customer"))),
            Contestant(
                SEARCHED, lambda number: _reached(_SEARCHED.format(hash=address_hash_sql("best.value")))
            ),
        ]


_REACHED: list[tuple[Any, ...]] = []


def _reached(contacts: str) -> Run:
    sql = f"""
        SELECT channel, count(*), count(address), count(*) FILTER (WHERE address IS NOT NULL
               AND consent = 'granted' AND suppression IS NULL)
        FROM ({contacts}) AS contact GROUP BY channel ORDER BY channel"""
    with stopwatch() as watch, connection.cursor() as cursor:
        cursor.execute(sql, contacts_params(["email", "sms"]))
        found = cursor.fetchall()
    _REACHED[:] = _REACHED or found
    if found != _REACHED:
        raise AssertionError(f"{found}, not {_REACHED}")
    return watch.run(sum(row[1] for row in found))


MEASURES = [
    Measure(
        "segment",
        "A segment of three conditions: country, trait, two orders in 90 days",
        "answers",
        three_conditions,
        rounds=5,
        full_rounds=7,
        sizes=_sizes,
        limits=[
            Limit(OURS, HAND, "seconds", at_most=2, goal_at_most=1.15),
            Limit(OURS, ORM, "rate", goal_at_least=4),
        ],
    ),
    Measure(
        "segment_answers",
        "Answers while somebody waits",
        "answers",
        answers,
        sizes=_sizes,
        limits=[
            Limit(CHECK, figure="ms", at_most=20, claim="milliseconds of server time"),
            Limit(CHECK, figure="waited", claim="milliseconds until the answer, median"),
            Limit(COUNT, figure="ms", goal_at_most=5, claim="milliseconds of server time"),
            Limit(STOP, figure="stopped", at_least=1, claim="stopped"),
            Limit(STOP, figure="seconds", at_most=6, claim="after seconds"),
        ],
    ),
    Measure(
        "segment_refresh",
        "Refreshing members of whom one in a hundred changed",
        "members",
        refreshes,
        sizes=_sizes,
        limits=[
            Limit(REFRESH, QUERY, "seconds", goal_at_most=3),
            Limit(REFRESH, REPLACE, "rate", claim="rate, × delete and insert"),
        ],
    ),
    Measure(
        "contacts",
        "Whom each channel reaches, of everybody",
        "answers",
        reach,
        sizes=_sizes,
        limits=[Limit(OURS, SEARCHED, "rate")],
    ),
]
