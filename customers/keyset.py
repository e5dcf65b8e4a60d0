"""Pages by key: the same cost on page one and page ten thousand, and no row twice when rows come in."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from django.db.models import Model, Q, QuerySet

Row = TypeVar("Row", bound=Model)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Rows latest first; `newer` and `older` are query strings of the pages beside, empty at the ends."""

    rows: list[Row]
    newer: str
    older: str


def page_of(queryset: QuerySet[Row], params: Mapping[str, str], *, moment: str, size: int = 50) -> Page[Row]:
    """One page by (`moment`, pk), latest first, where `before` or `after` in the params say.

    Those are `<microseconds>-<pk>`; nonsense shows the first page.
    """
    before, after = _position(params.get("before", "")), _position(params.get("after", ""))
    forward = after is not None and before is None
    if before:
        queryset = queryset.filter(_beyond(moment, before, "lt"))
    elif after:
        queryset = queryset.filter(_beyond(moment, after, "gt"))
    order = (moment, "pk") if forward else (f"-{moment}", "-pk")
    rows = list(queryset.order_by(*order)[: size + 1])
    has_more, rows = len(rows) > size, rows[:size]
    if forward:
        rows.reverse()
    has_newer = has_more if forward else before is not None
    has_older = True if forward else has_more
    if not rows:
        return Page([], "", "")
    return Page(
        rows,
        _link(params, "after", moment, rows[0]) if has_newer else "",
        _link(params, "before", moment, rows[-1]) if has_older else "",
    )


def _position(text: str) -> tuple[datetime, int] | None:
    microseconds, _dash, pk = text.rpartition("-")
    try:
        return EPOCH + timedelta(microseconds=int(microseconds)), min(int(pk), 2**63 - 1)
    except (ValueError, OverflowError):
        return None


def _beyond(moment: str, position: tuple[datetime, int], side: str) -> Q:
    at, pk = position
    # The first condition says nothing new: it is what lets the index begin at the right place.
    return Q(**{f"{moment}__{side}e": at}) & (
        Q(**{f"{moment}__{side}": at}) | Q(**{moment: at, f"pk__{side}": pk})
    )


def _link(params: Mapping[str, str], side: str, moment: str, row: Any) -> str:
    """The query string of a page beside, all filters kept."""
    microseconds = (getattr(row, moment) - EPOCH) // timedelta(microseconds=1)
    kept = {name: value for name, value in params.items() if name not in ("before", "after") and value}
    return "?" + urlencode(kept | {side: f"{microseconds}-{row.pk}"})
