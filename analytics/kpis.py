"""The figures of the home page: each a set-based question over orders, conversions and messages.

A period is the last N days, today included up to this minute. It is compared with the same span N days
earlier, so a morning is compared with a morning. Money is of one currency, the one with most revenue in the
period; what other currencies brought is told beside it. Cancelled orders count nowhere.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from django.db import connection
from django.utils.timezone import get_current_timezone, get_current_timezone_name, localtime

DAYS = (7, 30, 90)


@dataclass(frozen=True)
class Period:
    """The last `days` days up to `now`, and the same span as many days earlier."""

    days: int
    now: datetime

    @property
    def start(self) -> datetime:
        """Local midnight of the first day."""
        first = localtime(self.now).date() - timedelta(days=self.days - 1)
        return datetime.combine(first, time(), tzinfo=get_current_timezone())

    @property
    def previous_start(self) -> datetime:
        first = localtime(self.now).date() - timedelta(days=2 * self.days - 1)
        return datetime.combine(first, time(), tzinfo=get_current_timezone())

    @property
    def previous_end(self) -> datetime:
        """The same time of day as now, `days` days ago by the local calendar."""
        local = localtime(self.now)
        day = local.date() - timedelta(days=self.days)
        return datetime.combine(day, local.time(), tzinfo=get_current_timezone())

    @property
    def dates(self) -> list[date]:
        """The days of the period, oldest first."""
        first = self.start.date()
        return [first + timedelta(days=number) for number in range(self.days)]

    @property
    def params(self) -> dict[str, Any]:
        return {
            "since": self.start,
            "now": self.now,
            "previous_since": self.previous_start,
            "previous_until": self.previous_end,
            "zone": get_current_timezone_name(),
        }


@dataclass
class Kpi:
    """A figure now and before; `series` is the figure of each day that is over."""

    value: float | None
    previous: float | None
    series: Sequence[float] = ()

    @property
    def change(self) -> float | None:
        """Growth as a share of what was before; None when there was nothing to compare with."""
        if self.value is None or not self.previous:
            return None
        return self.value / self.previous - 1

    @property
    def points(self) -> float | None:
        """The difference of two shares, in percentage points."""
        if self.value is None or self.previous is None:
            return None
        return 100 * (self.value - self.previous)


@dataclass
class Figures:
    """Everything the strip and the chart show. Money in minor units of `currency`."""

    currency: str
    revenue: Kpi
    orders: Kpi
    buyers: Kpi
    repeat: Kpi
    attributed: Kpi
    attributed_orders: int
    other_currencies: dict[str, int]
    by_channel: dict[str, list[int]]


# Uses order_by_time.
_SALES = """
SELECT placed_at >= %(since)s AS is_now, (placed_at AT TIME ZONE %(zone)s)::date AS day, channel, currency,
       count(*), sum(total_minor)
FROM orders_order
WHERE status = 'completed' AND (placed_at >= %(since)s AND placed_at <= %(now)s
      OR placed_at >= %(previous_since)s AND placed_at <= %(previous_until)s)
GROUP BY 1, 2, 3, 4
"""

# Whoever bought, and whether they had bought before that order; uses order_by_time and order_of_customer.
_BUYERS = """
WITH bought AS (
    SELECT customer_id, placed_at >= %(since)s AS is_now, (placed_at AT TIME ZONE %(zone)s)::date AS day,
           EXISTS (SELECT 1 FROM orders_order AS earlier
                   WHERE earlier.customer_id = bought.customer_id AND earlier.status = 'completed'
                     AND (earlier.placed_at, earlier.id) < (bought.placed_at, bought.id)) AS is_repeat
    FROM orders_order AS bought
    WHERE status = 'completed' AND (placed_at >= %(since)s AND placed_at <= %(now)s
          OR placed_at >= %(previous_since)s AND placed_at <= %(previous_until)s)
)
SELECT is_now, day, count(DISTINCT customer_id), count(DISTINCT customer_id) FILTER (WHERE is_repeat)
FROM bought GROUP BY GROUPING SETS ((is_now), (is_now, day))
"""

_ATTRIBUTED = """
SELECT occurred_at >= %(since)s AS is_now, (occurred_at AT TIME ZONE %(zone)s)::date AS day, currency,
       count(*), sum(revenue_minor)
FROM campaigns_conversion
WHERE occurred_at >= %(since)s AND occurred_at <= %(now)s
   OR occurred_at >= %(previous_since)s AND occurred_at <= %(previous_until)s
GROUP BY 1, 2, 3
"""


def figures_of(period: Period) -> Figures:
    """The key figures of a period in three queries."""
    sales = _ask(_SALES, period)
    attributed = _ask(_ATTRIBUTED, period)
    totals: dict[str, int] = defaultdict(int)
    for is_now, _day, _channel, currency, _count, revenue in sales:
        totals[currency] += int(revenue) if is_now else 0
    currency = max(totals, key=lambda code: (totals[code], code), default="EUR")
    mine = [row for row in sales if row[3] == currency]
    buyers, repeat = _buyers(period)
    credited = [row for row in attributed if row[2] == currency]
    return Figures(
        currency=currency,
        revenue=_sum(period, ((row[0], row[1], row[5]) for row in mine)),
        orders=_sum(period, ((row[0], row[1], row[4]) for row in sales)),
        buyers=buyers,
        repeat=repeat,
        attributed=_sum(period, ((row[0], row[1], row[4]) for row in credited)),
        attributed_orders=sum(row[3] for row in attributed if row[0]),
        other_currencies={
            code: total for code, total in sorted(totals.items()) if code != currency and total
        },
        by_channel=_by_channel(period, mine),
    )


def _ask(sql: str, period: Period) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, period.params)
        return cursor.fetchall()


def _sum(period: Period, rows: Iterable[tuple[bool, date, int]]) -> Kpi:
    """Add up (is now, day, amount)."""
    days = dict.fromkeys(period.dates, 0)
    previous = 0
    for is_now, day, amount in rows:
        if is_now:
            days[day] += int(amount)
        else:
            previous += int(amount)
    return Kpi(sum(days.values()), previous, list(days.values())[:-1])


def _buyers(period: Period) -> tuple[Kpi, Kpi]:
    """People who bought, and the share of them who had bought before."""
    people: dict[bool, int] = {True: 0, False: 0}
    shares: dict[bool, float | None] = {True: None, False: None}
    days = dict.fromkeys(period.dates, (0, 0.0))
    for is_now, day, buyers, repeaters in _ask(_BUYERS, period):
        if day is None:
            people[is_now], shares[is_now] = buyers, repeaters / buyers
        elif is_now:
            days[day] = (buyers, repeaters / buyers)
    return (
        Kpi(people[True], people[False], [buyers for buyers, _share in days.values()][:-1]),
        Kpi(shares[True], shares[False], [share for _buyers, share in days.values()][:-1]),
    )


def _by_channel(period: Period, sales: Iterable[tuple[Any, ...]]) -> dict[str, list[int]]:
    """Channel to revenue day by day, the channel that brings most first."""
    positions = {day: index for index, day in enumerate(period.dates)}
    found: dict[str, list[int]] = {}
    for is_now, day, channel, _currency, _count, revenue in sales:
        if is_now:
            found.setdefault(channel, [0] * period.days)[positions[day]] += int(revenue)
    return dict(sorted(found.items(), key=lambda item: -sum(item[1])))


@dataclass(frozen=True)
class StoreSales:
    """What a store sold: orders and revenue today and in the period."""

    name: str
    orders_today: int
    revenue_today: int
    orders: int
    revenue: int


# Uses order_by_time.
_STORES = """
SELECT store.name, count(*) FILTER (WHERE purchase.placed_at >= %(today)s),
       COALESCE(sum(total_minor) FILTER (WHERE purchase.placed_at >= %(today)s), 0), count(purchase.id),
       COALESCE(sum(total_minor), 0)
FROM inventory_store AS store
LEFT JOIN orders_order AS purchase ON purchase.store_id = store.id AND purchase.status = 'completed'
    AND purchase.placed_at >= %(since)s AND purchase.placed_at <= %(now)s AND purchase.currency = %(currency)s
GROUP BY store.id ORDER BY 5 DESC, store.name
"""


def sales_by_store(period: Period, currency: str) -> list[StoreSales]:
    """Every store with its sales in one currency, the strongest first."""
    today = localtime(period.now).replace(hour=0, minute=0, second=0, microsecond=0)
    with connection.cursor() as cursor:
        cursor.execute(_STORES, period.params | {"currency": currency, "today": today})
        return [StoreSales(name, *map(int, numbers)) for name, *numbers in cursor.fetchall()]
