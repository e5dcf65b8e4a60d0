"""/metrics for Prometheus: how the house stands, and what this host's web processes answered.

The first part comes from the database (`standing.look`), so every host tells the same and workers need no
port of their own: take the maximum over hosts. The second is counted by django-prometheus in files that the
web processes of one server share (`omnicrm.counters`), so that it does not matter which of them is asked:
take the sum over hosts.
"""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hmac import compare_digest
from ipaddress import ip_address
from threading import Lock

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest, multiprocess
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from .counters import SHARED
from .standing import Standing, look

log = structlog.get_logger(__name__)

FRESH = 5.0  # Seconds a look is good for: several Prometheus servers cost one look.
FORWARDED = ("X-Forwarded-For", "Forwarded", "X-Real-IP")

_lock = Lock()
_last: tuple[float, list[Metric]] = (float("-inf"), [])


def may_read(request: HttpRequest) -> bool:
    """Whoever knows METRICS_TOKEN; where none is set, this machine itself, through no proxy."""
    if settings.METRICS_TOKEN:
        given = request.headers.get("Authorization", "").encode(errors="replace")
        return compare_digest(given, f"Bearer {settings.METRICS_TOKEN}".encode())
    if any(request.headers.get(header) for header in FORWARDED):
        return False
    with suppress(ValueError):
        return ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    return False


def page() -> bytes:
    """Everything, in Prometheus' text format; without the first part's figures when the database is away."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_House())
    if os.environ.get(SHARED):
        answered = CollectorRegistry()
        multiprocess.MultiProcessCollector(answered)
    else:
        answered = REGISTRY
    return generate_latest(registry) + generate_latest(answered)


class _House:
    """The collector of the first part."""

    def collect(self) -> Iterator[Metric]:
        global _last
        with _lock:
            at, families = _last
            if time.monotonic() - at > FRESH:
                families = list(_look_again())
                _last = time.monotonic(), families
        yield from families


def _look_again() -> Iterator[Metric]:
    started = time.perf_counter()
    try:
        standing = look()
    except (DatabaseError, InterfaceError) as error:
        log.warning("metrics_without_database", error=type(error).__name__)
        yield _gauge("database_up", "Whether the database answered in time.", [((), 0)])
        return
    yield _gauge("database_up", "Whether the database answered in time.", [((), 1)])
    took = time.perf_counter() - started
    yield _gauge("look_seconds", "What asking the database for all this took.", [((), took)])
    yield from _sending(standing)
    yield from _messages(standing)
    yield from _around(standing)
    yield from _database(standing)


Samples = Iterable[tuple[tuple[str, ...], float]]


def _gauge(name: str, help_text: str, samples: Samples, labels: tuple[str, ...] = ()) -> Metric:
    family = GaugeMetricFamily(f"omnicrm_{name}", help_text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _counter(name: str, help_text: str, samples: Samples, labels: tuple[str, ...] = ()) -> Metric:
    family = CounterMetricFamily(f"omnicrm_{name}", help_text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _sending(standing: Standing) -> Iterator[Metric]:
    for name, help_text, field in (
        ("sends_on", "Whether messages of a channel may leave.", "is_on"),
        ("messages_due", "Messages that should have left already; counted to 100,000.", "due"),
        ("dispatch_lag_seconds", "For how long the oldest of them has been due.", "oldest_due"),
        ("messages_leased", "Messages workers have taken up.", "leased"),
        ("messages_sending", "Messages on the wire.", "sending"),
        ("messages_in_doubt", "Messages on the wire of workers not heard of for a lease.", "in_doubt"),
    ):
        samples = [((lane.channel,), float(getattr(lane, field))) for lane in standing.lanes]
        yield _gauge(name, help_text, samples, ("channel",))
    sent = [((one.channel,), one.messages) for one in standing.sent]
    yield _counter("messages_sent", "Messages sent; counted every ten seconds.", sent, ("channel",))
    states = ("closed", "open", "probing")
    yield _gauge(
        "provider_breaker",
        "1 for the state a provider's breaker is in.",
        [((one.provider, state), one.state == state) for one in standing.providers for state in states],
        ("provider", "state"),
    )
    failures = [((one.provider,), one.failures) for one in standing.providers]
    yield _gauge("provider_failures", "Failures of a provider in a row.", failures, ("provider",))


def _messages(standing: Standing) -> Iterator[Metric]:
    yield _gauge(
        "messages",
        "Messages by state, as campaigns were last counted.",
        [((one.channel, one.state), one.messages) for one in standing.messages],
        ("channel", "state"),
    )
    yield _gauge(
        "messages_troubled",
        "Messages that failed or whose fate nobody knows; counted to 100,000.",
        [((one.channel, one.status, one.reason), one.messages) for one in standing.trouble],
        ("channel", "status", "reason"),
    )
    yield _gauge(
        "messages_unknown_oldest_seconds",
        "For how long the fate of a message has been unknown.",
        [((one.channel,), one.oldest) for one in standing.trouble if one.status == "unknown"],
        ("channel",),
    )


def _around(standing: Standing) -> Iterator[Metric]:
    inbox, segments = standing.inbox, standing.segments
    yield _gauge("inbox_waiting", "Reports of providers not counted yet.", [((), inbox.waiting)])
    yield _gauge("inbox_lag_seconds", "For how long the oldest due of them waits.", [((), inbox.oldest_due)])
    yield _gauge("inbox_dead", "Reports given up.", [((), inbox.dead)])
    yield _gauge(
        "imports",
        "Files waiting to be read, or being read.",
        [((one.kind, "queued"), one.queued) for one in standing.imports]
        + [((one.kind, "running"), one.running) for one in standing.imports],
        ("kind", "state"),
    )
    rows = [((one.kind,), one.rows) for one in standing.imports]
    yield _counter("import_rows", "Rows of files read.", rows, ("kind",))
    yield _gauge("segments_due", "Segments whose full count is due.", [((), segments.due)])
    yield _gauge("segments_overdue_seconds", "For how long, at most.", [((), segments.overdue)])
    yield _gauge(
        "segments_timed_out", "Segments whose last count ran out of time.", [((), segments.timed_out)]
    )
    lags = [((one.name,), one.lag) for one in standing.readers]
    yield _gauge("log_lag_seconds", "Age of the oldest event a reader has not read.", lags, ("reader",))


def _database(standing: Standing) -> Iterator[Metric]:
    database = standing.database
    yield _gauge(
        "database_connections",
        "Connections to this database by what they do.",
        [
            (("active",), database.active),
            (("idle",), database.idle),
            (("idle in transaction",), database.idle_in_transaction),
        ],
        ("state",),
    )
    yield _gauge("database_connections_most", "How many the server allows.", [((), database.most)])
    yield _gauge(
        "database_longest_transaction_seconds",
        "Age of the oldest transaction, before which the event log is not read.",
        [((), database.longest_transaction)],
    )
    yield _gauge("database_bytes", "Size of the database.", [((), database.bytes)])
