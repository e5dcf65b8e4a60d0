"""Pages of staff at a thousand customers and at a million: the same queries, much the same time.

Server time is that of Django answering a request in this process: every middleware, the view and the
template, without a network. Both databases live in one server, and the two take turns.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.timezone import now

from campaigns import audience, results, services
from campaigns.models import Campaign
from core.models import User
from customers.models import Customer
from segments.membership import refresh
from segments.models import Segment
from segments.services import create_segment

from . import crowd, database, worlds
from .harness import Contestant, Limit, Measure, Options, Run

SMALL = 1_000
REQUESTS = 11
WARM_UP = 3
TYPICAL_EVENTS = 12  # What a person whose page is looked at has done.

# What follows a campaign sent to everybody: all of it left over an hour, some was delivered or refused, a
# few followed a link; and the event log says so.
_SEND = """
UPDATE campaigns_message SET
    status = CASE WHEN id % 50 = 0 THEN 'bounced' WHEN id % 2 = 0 THEN 'delivered' ELSE 'sent' END,
    reason = CASE WHEN id % 50 = 0 THEN 'bad_address' ELSE '' END,
    sending_at = planned_at, sent_at = planned_at + (id % 3600) * interval '1 second', settled_at = planned_at
WHERE status = 'planned'
"""
_TELL = """
INSERT INTO customers_event (customer_id, name, channel, source, key, occurred_at, order_ref, properties)
SELECT customer_id, 'Message Sent', channel, 'campaigns', id || ':sent', sent_at, '',
       jsonb_build_object('campaign', campaign_id, 'message', id)
FROM campaigns_message WHERE sent_at IS NOT NULL
"""
_CLICK = """
INSERT INTO campaigns_click (message_id, link_id, clicked_at, is_machine)
SELECT message.id, link.id, sent_at + interval '1 hour', message.id % 7 = 0
FROM campaigns_message AS message
JOIN LATERAL (SELECT id FROM campaigns_link WHERE campaign_id = message.campaign_id
              ORDER BY id LIMIT 1 OFFSET message.id % 15) AS link ON true
WHERE message.sent_at IS NOT NULL AND message.id % 30 = 1
"""
# Somebody as active at every size.
_TYPICAL = """
SELECT customer_id FROM customers_event WHERE source <> 'campaigns' GROUP BY customer_id
HAVING count(*) = %s ORDER BY customer_id LIMIT 1
"""
_ITALIANS = {
    "type": "all",
    "nodes": [
        {"type": "attribute", "name": "country", "op": "one_of", "values": ["IT"]},
        {"type": "consent", "channel": "email", "state": "granted"},
    ],
}


def _customer_page() -> str:
    with connection.cursor() as cursor:
        cursor.execute(_TYPICAL, [TYPICAL_EVENTS])
        return Customer.objects.get(pk=cursor.fetchone()[0]).get_absolute_url()


def _campaign_page(status: str) -> str:
    return Campaign.objects.get(status=status).get_absolute_url()


PAGES: dict[str, Callable[[], str]] = {
    "customers": lambda: reverse("customers:list"),
    "customers in Italy who agreed to mail": lambda: (
        reverse("customers:list") + "?country=IT&consent=email-yes"
    ),
    "customers called Rossi": lambda: reverse("customers:list") + "?q=rossi",
    "a customer": _customer_page,
    "campaigns": lambda: reverse("campaigns:list"),
    "a campaign sent to all": lambda: _campaign_page(Campaign.Status.SENT),
    "a campaign that waits": lambda: _campaign_page(Campaign.Status.SCHEDULED),
    "segments": lambda: reverse("segments:list"),
    "a segment": lambda: Segment.objects.latest("pk").get_absolute_url(),
    "home": lambda: reverse("analytics:home"),
}


def _large(options: Options) -> int:
    return options.size(100_000, 1_000_000)


@contextmanager
def contestants(options: Options) -> Iterator[list[Contestant]]:
    """Each page at both sizes."""
    sizes = {"small": _house(SMALL), "large": _house(_large(options))}
    yield [
        Contestant(f"{page}, {size}", _asker(address, name))
        for page, address in PAGES.items()
        for size, name in sizes.items()
    ]


def _house(customers: int) -> str:
    """A world of this size that has written to everybody once."""
    return database.prepared(
        f"pages_{customers}",
        _write_to_all,
        Path(__file__),
        Path(crowd.__file__),
        on=worlds.prepared(customers),
    )


def _write_to_all() -> None:
    crowd.furnish()
    crowd.schedule()
    services.launch_next()
    with connection.cursor() as cursor:
        for statement in (_SEND, _TELL, _CLICK, "VACUUM ANALYZE"):
            cursor.execute(statement)
    services.finish_campaigns()
    results.count_results(Campaign.objects.get())
    waiting = crowd.schedule(send_at=now() + timedelta(days=30))
    audience.find_out("forecast", waiting.pk)  # As a worker does for who looks first.
    results.forecast_of(waiting)
    segment = create_segment(name="Italians by mail", definition=_ITALIANS, by=User.objects.get())
    refresh(segment.pk, limit_ms=600_000)  # Not what is measured.


def _asker(address: Callable[[], str], name: str) -> Callable[[int], Run]:
    """The median request of REQUESTS, and how many queries one makes."""

    def ask(number: int) -> Run:
        with database.using(name):
            client, url = Client(headers={"host": "localhost"}), address()
            client.force_login(User.objects.get())
            times, cpu = [], []
            for _ in range(WARM_UP + REQUESTS):
                start, start_cpu = time.perf_counter(), time.process_time()
                answer = client.get(url)
                times.append(time.perf_counter() - start)
                cpu.append(time.process_time() - start_cpu)
                if answer.status_code != 200:
                    raise AssertionError(f"{url} answers {answer.status_code}.")
            with CaptureQueriesContext(connection) as queries:
                client.get(url)
        return Run(
            1,
            statistics.median(times[WARM_UP:]),
            statistics.median(cpu[WARM_UP:]),
            notes={"queries": len(queries), "milliseconds": 1000 * statistics.median(times[WARM_UP:])},
        )

    return ask


def _limits() -> list[Limit]:
    found = []
    for page in PAGES:
        large, small = f"{page}, large", f"{page}, small"
        found += [
            Limit(large, small, "seconds", at_most=2),
            Limit(large, small, "queries", at_least=1, at_most=1),
            Limit(large, figure="milliseconds", goal_at_most=150),
        ]
    return found


MEASURES = [
    Measure(
        "pages",
        "Pages of staff",
        "pages",
        contestants,
        _limits(),
        sizes=lambda options: (
            f"{SMALL:,} customers (small) and {_large(options):,} (large), each written to once"
            + ("" if options.full else " (the issue: 1,000,000)")
        ),
    )
]
