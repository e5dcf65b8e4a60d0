"""Claim, fence, send, mark: how a planned message leaves the house.

A worker claims a batch of one channel under a lease, then fences (every gate again, committed) as much of it
as leaves within a tenth of a second, and puts that on the wire in small windows, each in its logbook before
the next begins; all of it is marked together with the next fence. Killed anywhere, a worker has sent at most
one window that nobody knows of; a lease that runs out is found by the next worker. No transaction is open
while a provider is asked.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar
from uuid import UUID

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from . import breaker, outbox, pace
from .channels import CHANNELS
from .channels.base import Outcome, Provider
from .models import Message
from .outbox import Claimed
from .rendering import Outgoing

log = structlog.get_logger(__name__)
T = TypeVar("T")

BATCH = 500
WINDOW = 8  # Messages sent that nobody knows of when a worker is killed.
FENCED = 64  # Messages fenced at once, at most;
AHEAD = 0.1  # and no more than leave within so many seconds, so that a withdrawal counts at once.
OUTAGE = 300  # Seconds PostgreSQL may be away while a worker waits to say what it sent.


def dispatch_batch(
    *,
    owner: UUID,
    limit: int = BATCH,
    channels: Iterable[str] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Claim, fence, send and mark one batch of each channel; returns how many messages were claimed.

    `owner` names this worker. `should_stop` is asked between windows: what is left then is given back.
    """
    return sum(
        _dispatch_channel(channel, owner, limit, should_stop)
        for channel in (CHANNELS if channels is None else channels)
    )


def _dispatch_channel(channel: str, owner: UUID, limit: int, should_stop: Callable[[], bool]) -> int:
    with CHANNELS[channel].provider() as provider:
        allowed = breaker.allowance(provider.name, limit)
        ends_at = _safe_until()
        claimed = outbox.claim(owner, channel, allowed.messages) if allowed.messages else []
        queue = deque(_within_pace(owner, provider, claimed))
        scribe = Scribe(owner, channel, provider.name)

        def is_over() -> bool:
            return should_stop() or time.monotonic() > ends_at

        try:
            size = most = _window_size(channel, provider)
            while queue and not is_over():
                began, until = time.monotonic(), _safe_until()
                fenced = scribe.fence(_next_ids(queue, most))
                for start in range(0, len(fenced), size):
                    scribe.log()
                    window = fenced[start : start + size]
                    outcomes = list(provider.send(window, deadline=until))
                    scribe.note(outcomes)
                    if not _is_well(provider, len(window), outcomes, allowed):
                        ends_at = 0.0  # The others are not tried on it.
                    if is_over():
                        scribe.note(Outcome(one.id, Message.Status.PLANNED) for one in fenced[start + size :])
                        break
                if channel not in settings.PARK_WHEN_IN_DOUBT:  # What is fenced and not sent would park too.
                    most = _ahead(len(fenced), time.monotonic() - began)
        finally:
            scribe.close()
            if queue:
                outbox.release(owner, [one.id for one in queue])
        return len(claimed)


class Scribe:
    """Writes down what a worker does with a batch: safe to repeat, and repeated through outages.

    What is not written down would be sent again, so log and mark outlast a restart of PostgreSQL. A fence is
    not repeated for long: its leases end.
    """

    def __init__(self, owner: UUID, channel: str, provider: str) -> None:
        self._owner, self._channel, self._provider = owner, channel, provider
        self._done: list[Outcome] = []

    def note(self, outcomes: Iterable[Outcome]) -> None:
        """Keep what became of messages until it is marked."""
        self._done += outcomes

    def log(self) -> None:
        """Leave word of what was sent, for whoever comes after this worker should it be killed."""
        if sent := [one for one in self._done if one.status == Message.Status.SENT]:
            self._through_outages(lambda: outbox.log(self._owner, self._provider, sent))

    def fence(self, ids: Sequence[int]) -> list[Outgoing]:
        """Mark what was noted and fence these messages in one commit; those that may go on the wire."""
        fenced = self._through_outages(
            lambda: outbox.mark_and_fence(self._owner, self._provider, self._done, ids, (self._channel,))
        )
        self._done = []
        return fenced

    def close(self) -> None:
        """Mark what was noted."""
        if self._done:
            self.fence([])

    def _through_outages(self, write: Callable[[], T]) -> T:
        until = time.monotonic() + OUTAGE if self._done else _safe_until()
        pause = 0.1
        while True:
            try:
                return write()
            except (OperationalError, InterfaceError):
                if connection.in_atomic_block or time.monotonic() + pause > until:
                    raise
                log.warning("database_away", waits=pause)
                connection.close()
                time.sleep(pause)
                pause = min(pause * 2, 2)


# --- how fast, and whether at all -----------------------------------------------------------------


def _within_pace(owner: UUID, provider: Provider, claimed: list[Claimed]) -> list[Claimed]:
    """The messages every limit leaves room for; the others are given back until there is."""
    keys = {one.id: _limits_of(provider, one) for one in claimed}
    rates = {key: rate for limits in keys.values() for key, rate in limits.items()}
    wanted = dict.fromkeys(rates, 0)
    for limits in keys.values():
        for key in limits:
            wanted[key] += 1
    left = pace.take(wanted, rates)
    queue = dict.fromkeys(rates, 0)
    ready, waiting, waits = [], [], []
    for one in claimed:
        limits = keys[one.id]
        if all(left[key] > 0 for key in limits):
            ready.append(one)
            for key in limits:
                left[key] -= 1
        else:
            for key in limits:
                queue[key] += 1
            waiting.append(one.id)
            waits.append(max(queue[key] / rates[key] for key in limits))
    if waiting:
        outbox.release(owner, waiting, waits)
    return ready


def _limits_of(provider: Provider, message: Claimed) -> dict[str, float]:
    """The buckets a message draws from, with their rates a second."""
    limits = {}
    if rate := settings.PROVIDER_RATES.get(provider.name):
        limits[f"provider:{provider.name}"] = float(rate)
    if rate := settings.DOMAIN_RATES.get(message.domain):
        limits[f"domain:{message.domain}"] = float(rate)
    if message.throttle_per_hour:
        limits[f"campaign:{message.campaign_id}"] = message.throttle_per_hour / 3600
    return limits


def _is_well(provider: Provider, sent: int, outcomes: list[Outcome], allowed: breaker.Allowance) -> bool:
    """Tell the breaker how a window of so many messages went; whether the provider took all of it.

    An answer that gets lost parks its message; where none came at all, the provider has failed.
    """
    details = [one.detail for one in outcomes if one.reason == Message.Reason.PROVIDER_ERROR]
    if not outcomes:
        details = ["no answer"] * sent
    if allowed.is_failing and len(details) < len(outcomes):
        breaker.note_success(provider.name)
        allowed.is_failing = False
    if details:
        breaker.note_failures(provider.name, len(details), details[-1])
    return not details


def _safe_until() -> float:
    """Until when (time.monotonic) a lease taken now is surely ours; later, others may believe us dead."""
    return time.monotonic() + settings.MESSAGE_LEASE_SECONDS / 2


def _window_size(channel: str, provider: Provider) -> int:
    """How many messages may be in doubt at once: one where doubt parks them and no report ever comes."""
    parks_for_good = channel in settings.PARK_WHEN_IN_DOUBT and not provider.reports
    return 1 if parks_for_good else WINDOW


def _ahead(messages: int, seconds: float) -> int:
    """How many to fence next, after so many took so long."""
    return max(WINDOW, min(FENCED, int(messages / seconds * AHEAD)))


def _next_ids(queue: deque[Claimed], most: int) -> list[int]:
    """Take what is fenced together off the queue; whoever stopped a worker before travels alone, and last."""
    first = queue.popleft()
    ids = [first.id]
    while not first.crashes and queue and not queue[0].crashes and len(ids) < most:
        ids.append(queue.popleft().id)
    return ids
