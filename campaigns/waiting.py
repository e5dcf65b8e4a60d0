"""Answers that take longer than a page may: it tries for a moment, then a worker finds out while it waits.

What a worker found is kept for some minutes, with its moment; what staff may change meanwhile is part of its
key. Where the cache is away nobody can be told to wait, so the page finds out by itself.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.cache import cache
from django.utils.timezone import now
from django.utils.translation import gettext as _
from redis.exceptions import RedisError

from core.doorbell import ring
from core.errors import DomainError
from segments.limits import TooSlow, time_limit

PATIENCE_MS = 1_000  # What a page tries by itself.
WORKER_MS = 180_000  # What a worker may take; so long it is not asked again.
KEPT_SECONDS = 600


class BeingCounted(DomainError):
    """A worker is at it: ask again in a few seconds."""

    def __init__(self) -> None:
        super().__init__(_("So many people are still being counted."))


@dataclass(frozen=True)
class Answer:
    """What was found, as of when; or the problem in words that kept a worker from finding out."""

    as_of: datetime
    found: Any = None
    problem: str = ""


def answer(key: str, find: Callable[[], Any], *, task: str, args: tuple[Any, ...]) -> Answer:
    """What `find` says, now or as a worker found lately, whose `task` calls `find_out` under the same key.

    Raises BeingCounted, and the DomainErrors of `find`.
    """
    if kept := kept_answer(key):
        if kept.problem:
            raise DomainError(kept.problem)
        return kept
    try:
        if cache.get(_asked(key)):
            raise BeingCounted
    except RedisError:
        return _found(find)
    try:
        return _found(find, PATIENCE_MS)
    except TooSlow:
        cache.set(_asked(key), True, WORKER_MS // 1000)
        ring(task, *args)
        raise BeingCounted from None


def kept_answer(key: str) -> Answer | None:
    """What a worker found lately; nothing where the cache is away."""
    with suppress(RedisError):
        kept: Answer | None = cache.get(key)
        return kept
    return None


def find_out(key: str, find: Callable[[], Any]) -> None:
    """The worker's side: find out and keep it for the pages, or why it cannot be found."""
    try:
        found = _found(find, WORKER_MS)
    except DomainError as error:
        found = Answer(now(), problem=str(error))
    cache.set(key, found, KEPT_SECONDS)
    cache.delete(_asked(key))


def _found(find: Callable[[], Any], limit_ms: int | None = None) -> Answer:
    as_of = now()
    with time_limit(limit_ms):
        return Answer(as_of, find())


def _asked(key: str) -> str:
    return f"{key}:asked"
