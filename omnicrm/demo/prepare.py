"""Brings the demo retailer into the house, step by step; every step can be repeated."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError, OutputWrapper
from django.db import connection
from django.utils.timezone import now as clock

from campaigns.conversions import follow_orders
from campaigns.days import follow_sent
from campaigns.habits import WEIGHTS, follow_habits
from campaigns.models import Brand
from campaigns.pressure import measure_pressure
from customers.events import MESSAGE_SENT, ORDER_COMPLETED
from customers.imports import CUSTOMERS
from customers.imports.jobs import import_path
from customers.imports.runner import Importer
from customers.models import Customer, Event, ImportJob
from orders.imports import ORDERS

from . import retailer, sends
from .browsing import browse
from .people import People, write_customers
from .segments import make_segments
from .sizes import FULL, Size
from .trade import write_orders

CONSENT_OPTIONS = {"country": "IT", "consent_source": "imported list"}


@dataclass(frozen=True)
class Story:
    """The campaign that is about to go out, and how many mails lay in the box before."""

    campaign_id: int
    mails_before: int


def prepare(stdout: OutputWrapper, size: Size = FULL) -> Story:
    """Have the demo retailer in the database, and a fresh campaign due in some seconds.

    Repeating adds only the campaign. Raises CommandError in a house that has customers of its own.
    """
    if Customer.objects.exists() and not Brand.objects.filter(name=retailer.NAME).exists():
        raise CommandError(
            "There are customers here already, and the demo keeps apart from them. Use `make run`, or give "
            "the demo a folder of its own: OMNICRM_VAR=/tmp/demo make demo"
        )
    before = logging.root.manager.disable
    logging.disable(logging.INFO)  # What follows says itself what it does.
    try:
        return _prepare(stdout, size)
    finally:
        logging.disable(before)


def _prepare(stdout: OutputWrapper, size: Size) -> Story:
    now = clock()
    with _step(stdout, f"{retailer.NAME}: brand, stores, colleagues") as done:
        brand = retailer.open_house(size)
        done("ready")
    _import_files(stdout, size, now)
    manager, marketer = retailer.colleague("manager"), retailer.colleague("marketer")
    with _step(stdout, "Browsing, visits and calls") as done:
        count = browse(size.events, now=now)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")  # What autovacuum would do within a minute; segments ask now.
        done(f"{count:,} events")
    with _step(stdout, "Segments") as done:
        groups = make_segments(by=marketer)
        done(f"{len(groups)} counted")
    with _step(stdout, "Campaigns of the last months") as done:
        for plan in sends.PAST:
            sends.send_in_the_past(plan, brand, groups, by=marketer, approver=manager, now=now)
        _follow(follow_orders, ORDER_COMPLETED)
        _follow(follow_sent, MESSAGE_SENT)
        _follow(follow_habits, *WEIGHTS)
        sends.plan_the_coming(brand, groups, by=marketer, approver=manager, now=now)
        main = sends.send_first_look(brand, groups, by=marketer, now=clock())
        measure_pressure()
        done(f"{len(sends.PAST)} sent, more to come")
    return Story(main.pk, count_mails())


def count_mails() -> int:
    """How many mails the local mail server has kept so far."""
    box = settings.VAR_DIR / "mail" / "new"
    return sum(1 for _ in box.iterdir()) if box.exists() else 0


def _import_files(stdout: OutputWrapper, size: Size, now: datetime) -> None:
    """Write the two files and import them as any file is; a file imported before is not written again."""
    folder = settings.VAR_DIR / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    customers, orders = folder / "customers.csv", folder / "orders.csv"
    if _is_imported(orders):
        return
    today = now.astimezone(sends.ROME).date()
    people = People(size, today).invent()
    write_customers(customers, people, today)
    write_orders(orders, people, count=size.orders, now=now)
    _import(stdout, "Customers", customers, CUSTOMERS, CONSENT_OPTIONS)
    _import(stdout, "Orders", orders, ORDERS, {})


def _is_imported(path: Path) -> bool:
    return ImportJob.objects.filter(file_name=path.name, status=ImportJob.Status.DONE).exists()


def _import(
    stdout: OutputWrapper, what: str, path: Path, importer: Importer, options: dict[str, str]
) -> None:
    with _step(stdout, f"{what} from {path}") as done:
        job = import_path(path, importer=importer, options=dict(options))
        if job.status != ImportJob.Status.DONE:
            raise CommandError(f"{path}: {job.error}")
        done(f"{job.rows:,} rows, {job.rejected:,} refused")


@contextmanager
def _step(stdout: OutputWrapper, title: str) -> Iterator[Callable[[str], None]]:
    """Say what is going on before it starts, and how it went with the seconds it took."""
    stdout.write(f"  {title} … ", ending="")
    stdout.flush()
    started = time.monotonic()

    def done(outcome: str) -> None:
        stdout.write(f"{outcome} ({time.monotonic() - started:.1f} s)")

    yield done


def _follow(follow: Callable[[], int], *names: str) -> None:
    """Follow the log to its end; its last events wait for transactions still open elsewhere."""
    log, deadline = Event.objects.filter(name__in=names), time.monotonic() + 10
    while time.monotonic() < deadline and (follow() or log.exclude(pk__in=log.settled()).exists()):
        pass
