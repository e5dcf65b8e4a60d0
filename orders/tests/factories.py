from datetime import datetime
from itertools import count
from typing import Any

from django.utils.timezone import now

from customers.models import Customer
from orders.models import Order

_numbers = count(1)


def make_order(
    customer: Customer,
    *,
    number: str = "",
    total_minor: int = 5000,
    at: datetime | None = None,
    **fields: Any,
) -> Order:
    """A completed order, now unless said otherwise; the total in cents."""
    return Order.objects.create(
        customer=customer,
        source="test",
        number=number or f"T-{next(_numbers)}",
        total_minor=total_minor,
        placed_at=at or now(),
        **fields,
    )
