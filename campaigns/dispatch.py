"""Claim, fence, send, mark: how a planned message leaves the house.

A worker claims a batch of one channel under a lease, then fences (every gate again, committed) as much of it
as leaves within a third of a second, and puts that on the wire in small windows, each in its logbook before
it begins; all of it is marked together with the next fence. Killed anywhere, a worker has sent at most one
window that nobody knows of; a lease that runs out is found by the next worker. No transaction is open while
a provider is asked.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self, TypeVar
from uuid import UUID

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from . import breaker, outbox, pace
from .channels import CHANNELS
from .channels.base import Outcome, Provider
from .logbook import Log, Word
from .models import Message
from .outbox import Claimed
from .rendering import Outgoing

log = structlog.get_logger(__name__)
T = TypeVar("T")

BATCH = 512
WINDOW = 8  # Messages sent that nobody knows of when a worker is killed.
FENCED = 256  # Messages fenced at once, at most;
AHEAD = 0.3  # and no more than leave within so many seconds, so that a withdrawal counts at once.
OUTAGE = 300  # Seconds PostgreSQL may be away while a worker waits to say what it sent.


def dispatch_batch(
    *,
    owner: UUID,
    limit: int = BATCH,
    channels: Iterable[str] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Claim, fence, send and mark one batch of each channel; returns how many messages were claimed."""
    claimed = 0
    for channel in CHANNELS if channels is None else channels:
        with Dispatcher(channel, owner, should_stop) as dispatcher:
            claimed += dispatcher.send_batch(limit)
    return claimed


class Dispatcher:
    """One worker's run through what is due on a channel: its provider stays connected from batch to batch.

    `owner` names the worker. `should_stop` is asked between windows: what is left then is given back. All of
    it is marked once the run is over; until then what a batch sent may still stand in the logbook.
    """

    def __init__(self, channel: str, owner: UUID, should_stop: Callable[[], bool] = lambda: False) -> None:
        self._channel, self._owner, self._should_stop = channel, owner, should_stop
        self._provider = CHANNELS[channel].provider()
        self._scribe = Scribe(owner, channel, self._provider.name)
        self._window = self._most = _window_size(channel, self._provider)

    def __enter__(self) -> Self:
        self._provider.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._scribe.close()
        finally:
            self._provider.__exit__(kind, error, trace)

    def send_batch(self, limit: int = BATCH) -> int:
        """Claim so many messages at most and send them; returns how many were claimed."""
        allowed = breaker.allowance(self._provider.name, limit)
        ends_at = _safe_until()
        claimed = outbox.claim(self._owner, self._channel, allowed.messages) if allowed.messages else []
        queue = deque(_within_pace(self._owner, self._provider, claimed))
        try:
            while queue and self._send_next(queue, allowed, ends_at):
                pass
        finally:
            if queue:
                outbox.release(self._owner, [one.id for one in queue])
        return len(claimed)

    def _send_next(self, queue: deque[Claimed], allowed: breaker.Allowance, ends_at: float) -> bool:
        """Fence the next of the queue and send them window by window; whether to go on after that."""
        if self._should_stop() or time.monotonic() > ends_at:
            return False
        began, until = time.monotonic(), _safe_until()
        fenced = self._scribe.fence(_next_ids(queue, self._most))
        for start in range(0, len(fenced), self._window):
            window = fenced[start : start + self._window]
            self._scribe.begin(window)
            outcomes = list(self._provider.send(window, deadline=until))
            self._scribe.note(window, outcomes)
            is_well = _is_well(self._provider, len(window), outcomes, allowed)
            if not is_well or self._should_stop() or time.monotonic() > ends_at:
                self._scribe.give_back(fenced[start + self._window :])
                return False  # After a failure the others are not tried on the provider.
        if self._channel not in settings.PARK_WHEN_IN_DOUBT:  # Without a log all that is fenced would park.
            self._most = _ahead(len(fenced), time.monotonic() - began)
        return True


class Scribe:
    """Writes down what a worker does: safe to repeat, and repeated through outages.

    What is not written down would be sent again, so begin and mark outlast a restart of PostgreSQL. A fence
    is not repeated for long: its leases end.
    """

    def __init__(self, owner: UUID, channel: str, provider: str) -> None:
        self._owner, self._channel, self._provider = owner, channel, provider
        self._log = Log(owner, provider)
        self._word = Word()
        self._done: list[Outcome] = []
        self._unanswered: list[int] = []  # Messages sent in this run of which nobody knows what became.

    def begin(self, window: Sequence[Outgoing]) -> None:
        """Leave word that these come next, and of what was sent before; windows come as they were fenced."""
        if window[-1].id > self._word.begun:
            self._word.begun = window[-1].id
            self._through_outages(lambda: self._log.write(self._word))

    def note(self, window: Sequence[Outgoing], outcomes: Sequence[Outcome]) -> None:
        """Keep what became of a window until it is marked; a message without an outcome stays in doubt."""
        self._done += outcomes
        self._word.settled = window[-1].id
        sent = {one.message_id: one.ref for one in outcomes if one.status == Message.Status.SENT}
        self._word.refs |= {message: ref for message, ref in sent.items() if ref}
        if len(sent) < len(window):
            self._word.unsent += [one.id for one in window if one.id not in sent]
            self._unanswered += {one.id for one in window}.difference(one.message_id for one in outcomes)

    def give_back(self, messages: Iterable[Outgoing]) -> None:
        """Let what was fenced and not begun wait again, once that is marked."""
        self._done += [Outcome(one.id, Message.Status.PLANNED) for one in messages]

    def fence(self, ids: Sequence[int]) -> list[Outgoing]:
        """Mark what was noted and fence these messages in one commit; those that may go on the wire."""
        word = Word(begun=max(ids[:WINDOW], default=0), unsent=list(self._unanswered))
        fenced = self._through_outages(lambda: self._mark_and_fence(ids, word))
        self._done, self._word = [], word
        return fenced

    def close(self) -> None:
        """Mark what was noted."""
        try:
            if self._done:
                self.fence([])
                outbox.close_log(self._owner)
        finally:
            self._log.close()

    def _mark_and_fence(self, ids: Sequence[int], word: Word) -> list[Outgoing]:
        self._log.settle()
        return outbox.mark_and_fence(self._owner, self._provider, self._done, ids, (self._channel,), word)

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
                self._log.close()
                time.sleep(pause)
                pause = min(pause * 2, 2)


# --- how fast, and whether at all -----------------------------------------------------------------


def _within_pace(owner: UUID, provider: Provider, claimed: list[Claimed]) -> list[Claimed]:
    """The messages every limit leaves room for; the others are given back until there is."""
    if not (_is_limited(provider) or any(one.throttle_per_hour for one in claimed)):
        return claimed
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


def _is_limited(provider: Provider) -> bool:
    return bool(settings.DOMAIN_RATES or settings.PROVIDER_RATES.get(provider.name))


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
