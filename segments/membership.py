"""Who is in a segment, kept: refreshed by the difference, with every spell of every person.

A refresh asks the rules and, in the same statement, opens a spell for whoever came in and closes that of
whoever went out. Two refreshes of one segment would work from different moments, and the older could have
the last word; so each holds the segment's lock from before it asks until it has committed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import perf_counter
from typing import Any

import structlog
from django.conf import settings
from django.db import connection
from django.utils.timezone import localdate, now

from customers.contact import count_reachable
from customers.models import Channel

from .compiler import Compiled, Compiler
from .concerns import Register
from .limits import TooSlow, time_limit
from .models import Segment, SegmentDay
from .tree import TreeError

log = structlog.get_logger(__name__)

STILL = timedelta(hours=12)  # Between full counts of a segment nothing moves but what the follower sees.
SOON = timedelta(minutes=15)  # Until a segment that took too long is tried again: the house may be busy.
AGAIN = timedelta(hours=6)  # Until it is, once it took too long twice.
COST = 200  # A full count is no more than one part in so many of the time between two.
LOCK = 0x5E6  # The family of our advisory locks; the segment's id is the other half.

# {these} narrows to the people asked about; membership_current_once finds them. A full join is never made by
# pairing everybody with everybody, however few members PostgreSQL takes a segment for: the first count writes
# hundreds of thousands of rows into a table it has known as empty.
_DIFFERENCE = """
WITH wanted AS MATERIALIZED ({wanted}),
held AS (
    SELECT id, customer_id FROM segments_membership AS spell
    WHERE spell.segment_id = %(segment)s AND spell.left_at IS NULL {these}
),
changed AS MATERIALIZED (
    SELECT wanted.id AS entering, held.id AS ending
    FROM wanted FULL JOIN held ON held.customer_id = wanted.id
    WHERE wanted.id IS NULL OR held.id IS NULL
),
gone AS (
    UPDATE segments_membership AS spell SET left_at = GREATEST(spell.entered_at, %(at)s)
    FROM changed WHERE spell.id = changed.ending
    RETURNING 1
),
come AS (
    INSERT INTO segments_membership (segment_id, customer_id, entered_at)
    SELECT %(segment)s, entering, %(at)s FROM changed WHERE ending IS NULL
    RETURNING 1
)
SELECT (SELECT count(*) FROM wanted), (SELECT count(*) FROM come), (SELECT count(*) FROM gone)
"""
_DAY = """
INSERT INTO segments_segmentday (segment_id, day, entered, "left", members)
VALUES (%(segment)s, %(day)s, %(entered)s, %(left)s, %(members)s)
ON CONFLICT (segment_id, day) DO UPDATE
SET entered = segments_segmentday.entered + EXCLUDED.entered,
    "left" = segments_segmentday."left" + EXCLUDED."left", members = EXCLUDED.members
"""


@dataclass(frozen=True)
class Moved:
    """What a refresh found: how many of those asked about are in, who came in and who went out."""

    matches: int
    entered: int
    left: int


class _Overtaken(Exception):
    """The rules were changed while they were being asked."""


# --- in full ------------------------------------------------------------------------------------


def refresh(segment_id: int, *, limit_ms: int | None = None, only_if_due: bool = False) -> Segment:
    """Ask a segment's rules of everybody, keep the difference and the figures; safe to run at any time.

    `only_if_due` does nothing when somebody else was faster. What the rules found is dropped when they
    were changed meanwhile. Raises TreeError and TooSlow; the segment remembers both, the latter unless the
    time allowed was shorter than usual.
    """
    try:
        with time_limit(limit_ms):
            lock(segment_id)
            segment = Segment.objects.get(pk=segment_id)
            if only_if_due and segment.due_at and segment.due_at > now():
                return segment
            _refresh_locked(segment)
        _count_reachable(segment_id, limit_ms)
    except _Overtaken:
        pass
    except (TooSlow, TreeError) as error:
        if isinstance(error, TreeError) or limit_ms is None:
            _remember_failure(segment_id)
        raise
    return Segment.objects.get(pk=segment_id)


def _remember_failure(segment_id: int) -> None:
    segment, tried = Segment.objects.get(pk=segment_id), now()
    pause = AGAIN if segment.has_timed_out else SOON
    Segment.objects.filter(pk=segment_id).update(count_failed_at=tried, due_at=tried + pause)


def relive(segment_id: int, moments: Sequence[datetime]) -> None:
    """Keep the members of a segment never counted as they would have been counted at these past moments."""
    with time_limit():
        lock(segment_id)
        for number, at in enumerate(moments):
            moved = keep_difference(segment_id, at)
            entered, left = (moved.entered, moved.left) if number else (0, 0)
            write_day(segment_id, at, entered, left, moved.matches)
        Segment.objects.filter(pk=segment_id).update(last_entered=0, last_left=0)


def lock(segment_id: int) -> None:
    """Hold a segment's members until the end of the transaction; waits for whoever holds them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCK, segment_id])


def try_lock(segment_id: int) -> bool:
    """Hold a segment's members if nobody else does; whether it worked."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [LOCK, segment_id])
        got: bool = cursor.fetchone()[0]
    return got


def _refresh_locked(segment: Segment) -> None:
    at, started = now(), perf_counter()
    moved = keep_difference(segment.pk, at)
    spent_ms = round((perf_counter() - started) * 1000)
    is_first = segment.last_entered is None  # Then nobody came: that is where the history begins.
    entered, left = (0, 0) if is_first else (moved.entered, moved.left)
    this = Segment.objects.filter(pk=segment.pk, definition=segment.definition)
    kept = this.update(
        match_count=moved.matches,
        count_ms=spent_ms,
        counted_at=at,
        count_failed_at=None,
        due_at=at + _pause(segment, spent_ms),
        last_entered=entered,
        last_left=left,
    )
    if not kept:
        raise _Overtaken
    write_day(segment.pk, at, entered, left, moved.matches)


_MEMBERS = (
    "(SELECT customer_id AS id FROM segments_membership WHERE segment_id = %(segment)s AND left_at IS NULL)"
)


def _count_reachable(segment_id: int, limit_ms: int | None) -> None:
    """Whom of the members each channel reaches. Where that takes too long, the older figures stay."""
    try:
        with time_limit(limit_ms):
            reachable = count_reachable(_MEMBERS, {"segment": segment_id}, list(Channel.values))
    except TooSlow:
        log.warning("reach_not_counted", segment=segment_id)
        return
    Segment.objects.filter(pk=segment_id, counted_at__isnull=False).update(reachable=reachable)


def _pause(segment: Segment, spent_ms: int) -> timedelta:
    """Until the next full count: short where time alone moves people, and never a burden."""
    moves = Register.of_active().of(segment.pk).clock
    wanted = timedelta(minutes=settings.SEGMENT_REFRESH_MINUTES) if moves else STILL
    return max(wanted, timedelta(milliseconds=COST * spent_ms))


# --- of some people -------------------------------------------------------------------------------


def write_moves(segment_id: int, at: datetime, moved: Moved) -> None:
    """Carry people who came and went over to the segment's count and its day."""
    if moved.entered == moved.left == 0:
        return
    segment = Segment.objects.select_for_update(no_key=True).get(pk=segment_id)
    segment.match_count = (segment.match_count or 0) + moved.entered - moved.left
    segment.save(update_fields=["match_count"])
    write_day(segment_id, at, moved.entered, moved.left, segment.match_count)


def write_day(segment_id: int, at: datetime, entered: int, left: int, members: int) -> None:
    """Add to what the day did to a segment."""
    params: dict[str, Any] = {"segment": segment_id, "day": localdate(at), "members": members}
    with connection.cursor() as cursor:
        cursor.execute(_DAY, params | {"entered": entered, "left": left})


def keep_difference(segment_id: int, at: datetime, *, only: Sequence[int] | None = None) -> Moved:
    """Ask a segment's rules, of everybody or of these people alone, and open and close their spells.

    The caller holds the segment's lock, and writes what it comes to: `write_moves`.
    """
    wanted = _asked_anew(segment_id, at, only)
    these = "" if only is None else "AND spell.customer_id = ANY(%(these)s::bigint[])"
    params = {"at": at, "segment": segment_id, "these": None if only is None else list(only)}
    with connection.cursor() as cursor:
        cursor.execute(_DIFFERENCE.format(wanted=wanted.sql, these=these), wanted.params | params)
        return Moved(*cursor.fetchone())


def _asked_anew(segment_id: int, at: datetime, only: Sequence[int] | None) -> Compiled:
    """The segment's rules now; segments inside it are read from their members where those are right."""
    narrowed = None if only is None else list(only)
    compiler = Compiler(at, only=narrowed, use_kept=True)
    return compiler.select(compiler.asked_anew(segment_id))


# --- by the clock ---------------------------------------------------------------------------------


def refresh_due(*, limit: int) -> int:
    """Count in full what is due, segments inside others first; returns how many could be counted."""
    due = Segment.objects.due(now()).values_list("pk", flat=True)[:limit]
    return sum(_could_refresh(pk) for pk in _in_order(due))


def _in_order(segment_ids: Iterable[int]) -> list[int]:
    return Register.of_active().in_order(segment_ids)


def _could_refresh(segment_id: int) -> bool:
    try:
        refresh(segment_id, only_if_due=True)
    except (Segment.DoesNotExist, TooSlow, TreeError):  # Deleted since, or told on its page.
        return False
    return True


def drop_old_days(*, keep_days: int = 800) -> int:
    """Forget what single days did that nobody looks at any more; returns how many."""
    dropped, _models = SegmentDay.objects.filter(day__lt=localdate() - timedelta(days=keep_days)).delete()
    return dropped
