"""The figures of Home as a worker last counted them, so that opening the page counts nothing."""

import time
from dataclasses import dataclass
from typing import Any

from django.core.cache import cache
from django.utils.timezone import now

from .kpis import DAYS, Figures, Period, figures_of, sales_by_store

FRESH_SECONDS = 60
COST_SHARE = 20  # Counting takes up a twentieth of a worker's time at most.
WANTED_SECONDS = 3600  # What nobody has looked at for so long is not counted.


@dataclass(frozen=True)
class Kept:
    """What was counted, and for the period that ended then."""

    period: Period
    figures: Figures
    stores: list[Any]
    cost_seconds: float

    @property
    def is_old(self) -> bool:
        age = (now() - self.period.now).total_seconds()
        return age > max(FRESH_SECONDS, COST_SHARE * self.cost_seconds)


def figures_kept(days: int) -> Kept:
    """The figures of the last so many days as last counted. Who looks before the first count, counts."""
    cache.set(_wanted(days), True, WANTED_SECONDS)
    return cache.get(_name(days)) or _count(days)


def count_overdue() -> None:
    """Count again what somebody looked at lately and what is old by now."""
    for days in DAYS:
        kept = cache.get(_name(days))
        if cache.get(_wanted(days)) and (kept is None or kept.is_old):
            _count(days)


def _count(days: int) -> Kept:
    start, period = time.monotonic(), Period(days, now())
    figures = figures_of(period)
    stores = sales_by_store(period, figures.currency)
    kept = Kept(period, figures, stores, time.monotonic() - start)
    cache.set(_name(days), kept, WANTED_SECONDS)
    return kept


def _name(days: int) -> str:
    return f"home-figures-{days}"


def _wanted(days: int) -> str:
    return f"home-figures-{days}-wanted"
