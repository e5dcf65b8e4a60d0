"""Planning a campaign to everybody, against writing the very rows it writes."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from campaigns import services
from campaigns.models import Message

from . import crowd, database, worlds
from .harness import Contestant, Limit, Measure, Options, Run, stopwatch

OURS, FLOOR = "OmniCRM", "bare INSERT … SELECT"
# Everything of a message but its id, which is another one each time.
_COLUMNS = """
SELECT string_agg(quote_ident(column_name), ', ') FROM information_schema.columns
WHERE table_name = 'campaigns_message' AND column_name <> 'id'
"""
_JUDGED = "customer_id, channel, address, status, reason, content_id IS NULL"


def _customers(options: Options) -> int:
    return options.size(100_000, 1_000_000)


@contextmanager
def contestants(options: Options) -> Iterator[list[Contestant]]:
    """In a copy of the world. What ours writes the first time is what the floor writes again each round."""
    customers = _customers(options)
    with database.copy(worlds.prepared(customers), "bench_planning"):
        crowd.furnish()
        plan(customers)
        _execute(f"CREATE TABLE bench_rows AS SELECT {_columns()} FROM campaigns_message ORDER BY id")
        _execute("VACUUM ANALYZE bench_rows")
        yield [
            Contestant(OURS, lambda number: plan(customers, is_compared=True)),
            Contestant(FLOOR, lambda number: write_again(customers)),
        ]


def plan(customers: int, *, is_compared: bool = False) -> Run:
    """Launch a campaign to everybody: its rows, its links and its state, in one transaction."""
    crowd.forget()
    campaign = crowd.schedule()
    with stopwatch() as watch:
        services.launch_next()
    campaign.refresh_from_db()
    if campaign.planned_at is None or Message.objects.count() != customers:
        raise AssertionError(f"{Message.objects.count()} messages for {customers} customers.")
    if is_compared and (different := _difference()):
        raise AssertionError(f"{different} messages are not those of the first time.")
    return watch.run(customers)


def write_again(customers: int) -> Run:
    """The same rows into the same table under the same indexes, without asking anything."""
    crowd.forget()
    columns = _columns()
    with stopwatch() as watch:
        _execute(f"INSERT INTO campaigns_message ({columns}) SELECT {columns} FROM bench_rows")
    if Message.objects.count() != customers:
        raise AssertionError("Not every row was written.")
    return watch.run(customers)


def _difference() -> int:
    return int(
        _execute(
            f"SELECT count(*) FROM (SELECT {_JUDGED} FROM campaigns_message "
            f"EXCEPT SELECT {_JUDGED} FROM bench_rows) AS different"
        )
    )


def _columns() -> str:
    return str(_execute(_COLUMNS))


def _execute(statement: str) -> str | int:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0] if cursor.description else 0


MEASURES = [
    Measure(
        "planning",
        "Planning a campaign",
        "messages",
        contestants,
        sizes=lambda options: (
            f"{_customers(options):,} messages" + ("" if options.full else " (the issue: 1,000,000)")
        ),
        limits=[Limit(OURS, FLOOR, "seconds", at_most=3, goal_at_most=1.25)],
    )
]
