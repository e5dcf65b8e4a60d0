"""What sending costs the database: claim, fence and mark without a mail, against two whole-table UPDATEs."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from django.db import connection

from campaigns import dispatch, outbox
from campaigns.channels.base import Outcome
from campaigns.models import Message

from . import crowd, database
from .harness import Contestant, Limit, Measure, Options, Run, stopwatch

OURS, FLOOR = f"OmniCRM, batches of {dispatch.BATCH}", "two whole-table UPDATEs"
_LEASE = """
UPDATE campaigns_message SET status = 'leased', owner = gen_random_uuid(), lease_until = now()
WHERE status = 'planned'
"""
_FINISH = """
UPDATE campaigns_message SET status = 'sent', owner = NULL, lease_until = NULL, sent_at = now(),
       settled_at = now() WHERE status = 'leased'
"""


def _messages(options: Options) -> int:
    return options.size(20_000, 100_000)


@contextmanager
def contestants(options: Options) -> Iterator[list[Contestant]]:
    """Ours judges every gate again and writes the event log on the way; the floor does neither."""
    messages = _messages(options)
    with database.copy(crowd.prepared(messages), "bench_claiming"):
        yield [
            Contestant(OURS, lambda number: _as_dispatched(messages)),
            Contestant(FLOOR, lambda number: _at_once(messages)),
        ]


def _as_dispatched(messages: int) -> Run:
    crowd.launch(messages)
    owner = uuid4()
    with stopwatch() as watch:
        while claimed := outbox.claim(owner, "email", dispatch.BATCH):
            outgoing = outbox.fence(owner, [message.id for message in claimed])
            outbox.mark(owner, [Outcome(message.id, "sent") for message in outgoing], provider="smtp")
    return _checked(watch.run(messages))


def _at_once(messages: int) -> Run:
    crowd.launch(messages)
    with stopwatch() as watch, connection.cursor() as cursor:
        cursor.execute(_LEASE)
        cursor.execute(_FINISH)
    return _checked(watch.run(messages))


def _checked(run: Run) -> Run:
    if Message.objects.filter(status=Message.Status.SENT).count() != run.units:
        raise AssertionError("Not every message was finished.")
    return run


MEASURES = [
    Measure(
        "claiming",
        "Claim, fence and mark",
        "messages",
        contestants,
        [Limit(OURS, FLOOR, goal_at_least=0.55)],
        sizes=lambda options: (
            f"{_messages(options):,} messages, one process; the gates and the event log are ours alone"
        ),
    )
]
