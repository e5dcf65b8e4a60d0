"""What a customer's orders come to."""

from dataclasses import dataclass, field
from datetime import datetime

from django.db import connection

# Uses order_of_customer, which covers all but the channel.
_FIGURES = """
SELECT currency, channel, count(*), sum(total_minor), min(placed_at), max(placed_at)
FROM orders_order WHERE customer_id = %s AND status = 'completed'
GROUP BY currency, channel
"""


@dataclass(frozen=True)
class Figures:
    """Completed orders of one customer. Money is in minor units of `currency`, the one they paid most in."""

    orders: int = 0
    currency: str = ""
    value_minor: int = 0
    average_minor: int = 0
    other_currencies: list[str] = field(default_factory=list)
    by_channel: list[tuple[str, int]] = field(default_factory=list)
    last_at: datetime | None = None
    days_between: int | None = None


def figures_of(customer_id: int) -> Figures:
    """One query. `days_between` is the mean distance of purchases, None with fewer than two days of them."""
    with connection.cursor() as cursor:
        cursor.execute(_FIGURES, [customer_id])
        rows = cursor.fetchall()
    if not rows:
        return Figures()
    count_by_currency: dict[str, int] = {}
    count_by_channel: dict[str, int] = {}
    for currency, channel, count, *_rest in rows:
        count_by_currency[currency] = count_by_currency.get(currency, 0) + count
        count_by_channel[channel] = count_by_channel.get(channel, 0) + count
    currency = max(count_by_currency, key=lambda code: (count_by_currency[code], code))
    value = int(sum(row[3] for row in rows if row[0] == currency))
    orders = sum(count_by_currency.values())
    first, last = min(row[4] for row in rows), max(row[5] for row in rows)
    span = (last - first).days
    return Figures(
        orders=orders,
        currency=currency,
        value_minor=value,
        average_minor=round(value / count_by_currency[currency]),
        other_currencies=sorted(set(count_by_currency) - {currency}),
        by_channel=sorted(count_by_channel.items(), key=lambda item: -item[1]),
        last_at=last,
        days_between=round(span / (orders - 1)) if orders > 1 and span else None,
    )
