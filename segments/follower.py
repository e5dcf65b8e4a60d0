"""Keeps members right between two full counts: asks again about the people something happened to.

Two logs are followed: the event log with a cursor, and the notes triggers leave about everything else
(`segments.touches`), each taken away in the transaction of its effects. When more has happened than is
worth asking about person by person, as in a large import, the logs are taken as read and every segment is
counted in full instead.
"""

from collections.abc import Callable, Iterable
from datetime import timedelta

import structlog
from django.db import connection, transaction
from django.db.models import F, Q
from django.utils.timezone import now

from core.cursor import consume
from core.models import Cursor
from customers.models import Event, EventQuerySet

from . import membership
from .concerns import Concerns, Register
from .limits import TooSlow, time_limit
from .models import Segment, Touch
from .tree import TreeError

log = structlog.get_logger(__name__)

NAME = "segments"
BATCH = 2_000  # Events or notes of one transaction.
TOO_MANY = 20_000  # From here on a full count of everything is cheaper.
PAUSE = timedelta(minutes=5)  # Between two full counts for that reason.
LATE = timedelta(minutes=1)

# People by the name of what happened to them; None for what is no event and concerns every segment.
Happened = dict[str | None, set[int]]


def follow() -> int:
    """Bring the members of every kept segment up to date; returns how many events and notes were read.

    Any number may run: who finds another at the event log leaves it to them.
    """
    _begin_at_the_end()
    if _is_far_behind():
        _take_as_read()
        return 0
    read = 0
    while events := consume(
        NAME, Event.objects.only("customer_id", "name", "tx"), _follow_events, limit=BATCH
    ):
        read += events
    while notes := _take_notes():
        read += notes
    return read


def is_behind() -> bool:
    """Whether something that happened more than a minute ago was not followed yet."""
    cursor = Cursor.objects.filter(name=NAME).first()
    if cursor is None:
        return True
    late = now() - LATE
    first = _unread(cursor).values_list("received_at", flat=True).first()
    noted = Touch.objects.order_by("pk").values_list("at", flat=True).first()
    return any(at is not None and at < late for at in (first, noted))


def _unread(cursor: Cursor) -> EventQuerySet:
    """Events after the cursor, those that may still be overtaken included; reads event_log_order."""
    after = ["(tx, id) > (%s::xid8, %s)"]
    unread = Event.objects.extra(where=after, params=[str(cursor.tx), cursor.event_id])  # noqa: S610
    return unread.order_by("tx", "id")


def _follow_events(events: list[Event]) -> None:
    happened: Happened = {}
    for event in events:
        happened.setdefault(event.name, set()).add(event.customer_id)
    _ask_again(happened)


@transaction.atomic
def _take_notes() -> int:
    """Take away the oldest notes and ask about their people; returns how many notes there were."""
    with connection.cursor() as cursor:
        cursor.execute(
            """DELETE FROM segments_touch WHERE id IN (
                   SELECT id FROM segments_touch ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)
               RETURNING customer_id""",
            [BATCH],
        )
        people = [row[0] for row in cursor.fetchall()]
    if people:
        _ask_again({None: set(people)})
    return len(people)


def _ask_again(happened: Happened) -> None:
    """Ask every segment these happenings concern about their people.

    The locks of the segments are taken before their rows are: a full count that is under way ends first,
    and may have begun before what happened here.
    """
    register = Register.of_active()
    asked = {pk: _concerned(register.of(pk), happened) for pk in register.in_order(register.segments)}
    moves = {}
    for pk, people in asked.items():
        if not people:
            continue
        membership.lock(pk)
        if Segment.objects.filter(pk=pk, counted_at=None).exists():
            continue  # Nothing is kept of it yet.
        try:
            with time_limit():
                moves[pk] = membership.keep_difference(pk, now(), only=sorted(people))
        except (TooSlow, TreeError) as error:
            log.warning("segment_not_followed", segment=pk, error=type(error).__name__)
            Segment.objects.filter(pk=pk).update(due_at=now())
    for pk, moved in sorted(moves.items()):  # Rows in pk order, as every verb locks them.
        membership.write_moves(pk, now(), moved)


def _concerned(concerns: Concerns, happened: Happened) -> set[int]:
    return {
        person
        for name, people in happened.items()
        if name is None or concerns.touches(name)
        for person in people
    }


# --- far behind -----------------------------------------------------------------------------------


def _begin_at_the_end() -> None:
    """The first time there is nothing to follow: what was counted in full knows what went before."""
    if not Cursor.objects.filter(name=NAME).exists():
        Cursor.objects.bulk_create([Cursor(name=NAME, **_end_of_log())], ignore_conflicts=True)


def _end_of_log() -> dict[str, int]:
    """The position after every event no running transaction can still overtake."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1")
        return {"tx": cursor.fetchone()[0], "event_id": 2**63 - 1}


def _is_far_behind() -> bool:
    cursor = Cursor.objects.get(name=NAME)
    counts: Iterable[Callable[[], int]] = (
        lambda: _unread(cursor)[:TOO_MANY].count(),
        lambda: Touch.objects.all()[:TOO_MANY].count(),
    )
    return any(count() == TOO_MANY for count in counts)


@transaction.atomic
def _take_as_read() -> None:
    """Go to the end of both logs and have every segment counted in full, in some minutes at the latest.

    A full count that is under way may have begun before what is skipped here; its lock lets it end first,
    so that it does not put off the next one.
    """
    register = Register.of_active()
    for pk in register.in_order(register.segments):
        membership.lock(pk)
    cursor = Cursor.objects.select_for_update().get(name=NAME)
    for name, value in _end_of_log().items():
        setattr(cursor, name, value)
    cursor.save()
    with connection.cursor() as database:
        database.execute("DELETE FROM segments_touch")
    moment = now()
    soon = Segment.objects.active().filter(Q(due_at__gt=moment))
    soon.filter(counted_at__lte=moment - PAUSE).update(due_at=moment)
    soon.filter(counted_at__gt=moment - PAUSE, due_at__gt=F("counted_at") + PAUSE).update(
        due_at=F("counted_at") + PAUSE
    )
    log.info("segments_counted_in_full_instead")
