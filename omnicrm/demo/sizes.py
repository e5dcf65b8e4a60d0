from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """How much demo there is; `troubled` people have an address or number that refuses what is sent."""

    customers: int
    orders: int
    events: int
    troubled: int
    approval_above: int


FULL = Size(customers=6_000, orders=20_000, events=25_000, troubled=8, approval_above=2_000)
