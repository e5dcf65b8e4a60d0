"""core.cursor over the real event log, with real transactions racing each other."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier
from threading import Event as Signal
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from core.cursor import DROP_FUNCTIONS, FUNCTIONS, carry_on, consume
from core.models import Cursor
from customers.models import Customer, Event
from customers.tests.factories import make_customer, make_event

WAIT = 20  # Seconds until a test that hangs fails; no test needs them.


class _Broken(Exception):
    pass


def _in_thread(pool: ThreadPoolExecutor, work: Callable[..., Any], *args: Any) -> Future[Any]:
    def run() -> Any:
        try:
            return work(*args)
        finally:
            connections.close_all()

    return pool.submit(run)


def _read_all(name: str, *, limit: int = 100) -> list[str]:
    """What a consumer of this name is handed until there is nothing more, by event name."""
    seen: list[str] = []
    while consume(name, Event.objects.all(), lambda rows: seen.extend(row.name for row in rows), limit=limit):
        pass
    return seen


@pytest.mark.django_db(transaction=True)
def test_events_arrive_once_and_in_the_order_of_the_log():
    customer = make_customer()
    for number in range(5):
        make_event(customer, f"Event {number}")

    assert _read_all("reader", limit=2) == [f"Event {number}" for number in range(5)]
    assert _read_all("reader") == []
    make_event(customer, "Later")
    assert _read_all("reader") == ["Later"]


@pytest.mark.django_db(transaction=True)
def test_consumers_of_different_names_read_independently():
    make_event(make_customer(), "Seen twice")

    assert _read_all("one") == ["Seen twice"]
    assert _read_all("two") == ["Seen twice"]


@pytest.mark.django_db(transaction=True)
def test_a_slow_older_transaction_is_never_skipped():
    customer = make_customer()
    written, may_commit = Signal(), Signal()

    def write_slowly() -> None:
        with transaction.atomic():
            make_event(customer, "Slow")
            written.set()
            assert may_commit.wait(WAIT)

    with ThreadPoolExecutor() as pool:
        slow = _in_thread(pool, write_slowly)
        assert written.wait(WAIT)
        make_event(customer, "Fast")  # A larger id and a larger tx, committed first.
        while_slow_runs = _read_all("reader")
        may_commit.set()
        slow.result(WAIT)

    assert while_slow_runs == []
    assert _read_all("reader") == ["Slow", "Fast"]


@pytest.mark.django_db(transaction=True)
def test_a_second_consumer_returns_at_once_while_the_first_works():
    make_event(make_customer(), "Once")
    at_work, may_finish = Signal(), Signal()
    seen: list[str] = []

    def handle(rows: list[Event]) -> None:
        seen.extend(row.name for row in rows)
        at_work.set()
        assert may_finish.wait(WAIT)

    with ThreadPoolExecutor() as pool:
        first = _in_thread(pool, lambda: consume("reader", Event.objects.all(), handle))
        assert at_work.wait(WAIT)
        second = _in_thread(pool, _read_all, "reader")
        assert second.result(WAIT) == []  # Answers although the first has not finished.
        may_finish.set()
        assert first.result(WAIT) == 1

    assert seen == ["Once"]


@pytest.mark.django_db(transaction=True)
def test_rival_consumers_share_the_log_and_count_each_event_once():
    customer = make_customer()
    for number in range(60):
        make_event(customer, f"Event {number}")
    seen: list[int] = []
    together = Barrier(4)

    def work() -> None:
        together.wait(WAIT)
        while len(seen) < 60:
            consume("reader", Event.objects.all(), lambda rows: seen.extend(r.pk for r in rows), limit=3)

    with ThreadPoolExecutor() as pool:
        for rival in [_in_thread(pool, work) for _ in range(4)]:
            rival.result(WAIT)

    assert sorted(seen) == list(Event.objects.order_by("id").values_list("pk", flat=True))


@pytest.mark.django_db(transaction=True)
def test_a_handler_that_fails_leaves_no_effect_and_its_events_come_again():
    customer = make_customer(first_name="Before")
    make_event(customer, "Precious")

    def fail(rows: list[Event]) -> None:
        type(customer).objects.update(first_name="After")
        raise _Broken

    with pytest.raises(_Broken):
        consume("reader", Event.objects.all(), fail)

    customer.refresh_from_db()
    assert customer.first_name == "Before"
    assert _read_all("reader") == ["Precious"]


@pytest.mark.django_db(transaction=True)
def test_events_of_the_reading_transaction_itself_wait_for_the_next_reader():
    customer = make_customer()
    with transaction.atomic():
        make_event(customer, "Mine")
        assert _read_all("reader") == []

    assert _read_all("reader") == ["Mine"]


@pytest.mark.django_db(transaction=True)
def test_what_a_filter_leaves_out_is_not_looked_at_again():
    """A reader of something rare would else go through everything else each time it asks."""
    customer = make_customer()
    for _ in range(3):
        make_event(customer, "Common")
    rare = Event.objects.filter(name="Rare")

    assert consume("reader", rare, lambda rows: None) == 0
    read = Cursor.objects.get(name="reader")
    assert (read.tx, read.event_id) > Event.objects.order_by("tx", "pk").values_list("tx", "pk").last()

    make_event(customer, "Rare")
    assert consume("reader", rare, lambda rows: None) == 1
    assert consume("reader", rare, lambda rows: None) == 0


@pytest.fixture
def restored_into_a_younger_cluster() -> Iterator[None]:
    """Rows and cursors as a dump brings them: their numbers are far ahead of this cluster's."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE customers_event SET tx = (tx::text::bigint + 7000000000)::text::xid8;"
            "UPDATE core_cursor SET tx = (tx::text::bigint + 7000000000)::text::xid8"
        )
    yield
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE customers_event ALTER COLUMN tx SET DEFAULT pg_current_xact_id()")
        cursor.execute(DROP_FUNCTIONS)
        cursor.execute(FUNCTIONS)


@pytest.fixture
def half_read() -> None:
    """An event somebody has read and one nobody has, before the database was dumped."""
    customer = make_customer()
    make_event(customer, "Read")
    assert _read_all("reader") == ["Read"]
    make_event(customer, "Unread")


@pytest.mark.django_db(transaction=True)
def test_a_restored_log_goes_on_where_it_ended(half_read, restored_into_a_younger_cluster):
    assert carry_on(Event)
    assert not carry_on(Event)

    make_event(Customer.objects.get(), "After the restore")
    assert _read_all("reader") == ["Unread", "After the restore"]
    make_event(Customer.objects.get(), "Later")
    assert _read_all("reader") == ["Later"]


@pytest.mark.django_db(transaction=True)
def test_without_it_readers_would_take_nothing_new(half_read, restored_into_a_younger_cluster):
    make_event(Customer.objects.get(), "After the restore")
    assert _read_all("reader") == []


@pytest.mark.django_db(transaction=True)
def test_a_restored_log_is_restored_again(half_read, restored_into_a_younger_cluster):
    carry_on(Event)
    make_event(Customer.objects.get(), "First life")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE customers_event SET tx = (tx::text::bigint + 7000000000)::text::xid8")
    assert carry_on(Event)
    make_event(Customer.objects.get(), "Second life")
    assert _read_all("other") == ["Read", "Unread", "First life", "Second life"]


@pytest.mark.django_db(transaction=True)
def test_migrating_carries_a_restored_log_on(half_read, restored_into_a_younger_cluster):
    call_command("migrate", verbosity=0)
    assert not carry_on(Event)
    assert _read_all("reader") == ["Unread"]


@pytest.mark.django_db(transaction=True)
def test_a_log_that_was_not_restored_is_left_alone(half_read):
    assert not carry_on(Event)


@pytest.mark.django_db
def test_the_next_rows_come_from_the_index_of_the_log():
    with CaptureQueriesContext(connection) as queries:
        _read_all("reader")
    [reading] = [query["sql"] for query in queries if "customers_event" in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        cursor.execute(f"EXPLAIN {reading}")
        plan = "\n".join(row[0] for row in cursor.fetchall())

    assert "event_log_order" in plan
    assert "Index Cond" in plan
    assert "Sort" not in plan
