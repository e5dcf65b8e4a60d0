"""The segments Casa Ontano works with, made and counted through the segments' own verbs."""

from datetime import timedelta
from typing import Any

from django.utils.timezone import now

from core.models import User
from customers.models import Customer
from segments.membership import refresh, relive
from segments.models import Segment
from segments.services import add_members, create_segment, remove_members

RECENT = "Bought in the last 60 days"
LAPSED = "Lapsed for 6 months"
VIP = "VIP: 5 orders or 500 € in a year"
MILANO = "Milano regulars"
ELSEWHERE = "Roma and Torino"
NEVER = "Never bought"
READERS = "Newsletter readers"
CALLED = "Called support in the last 14 days"
PRESS = "Press and friends"
DAYS = 30  # Of who came and went, as the chart of a segment shows them.
YEAR = {"type": "last", "days": 365}

DEFINITIONS: dict[str, tuple[str, dict[str, Any]]] = {
    RECENT: (
        "Whoever has bought anything, anywhere, in the last two months.",
        {"type": "orders", "measure": "last", "op": "in_last", "days": 60},
    ),
    LAPSED: (
        "Bought once or more, but not for half a year.",
        {"type": "orders", "measure": "last", "op": "older_than", "days": 180},
    ),
    VIP: (
        "The customers who carry the shop.",
        {
            "type": "any",
            "nodes": [
                {"type": "orders", "measure": "count", "op": "at_least", "value": 5, "window": YEAR},
                {
                    "type": "orders",
                    "measure": "revenue",
                    "op": "at_least",
                    "value": 50_000,
                    "currency": "EUR",
                    "window": YEAR,
                },
            ],
        },
    ),
    MILANO: (
        "Their shop is Porta Venezia, and they come at least three times a year.",
        {
            "type": "all",
            "nodes": [
                {"type": "attribute", "name": "home_store", "op": "is", "value": "milano"},
                {
                    "type": "orders",
                    "measure": "count",
                    "op": "at_least",
                    "value": 3,
                    "window": YEAR,
                    "store": "milano",
                },
            ],
        },
    ),
    ELSEWHERE: (
        "Whose shop is one of the other two.",
        {"type": "attribute", "name": "home_store", "op": "one_of", "values": ["roma", "torino"]},
    ),
    NEVER: (
        "Known to us, but no order yet.",
        {"type": "orders", "measure": "count", "op": "exactly", "value": 0},
    ),
    READERS: (
        "Agreed to the newsletter.",
        {"type": "consent", "channel": "email", "state": "granted"},
    ),
    CALLED: (
        "Something went wrong: let us not sell to them now.",
        {"type": "event", "name": "Support Called", "window": {"type": "last", "days": 14}},
    ),
}


def make_segments(by: User) -> dict[str, Segment]:
    """All segments by name, made where they are missing; every one counted."""
    found = {segment.name: segment for segment in Segment.objects.filter(name__in=[*DEFINITIONS, PRESS])}
    for name, (description, tree) in DEFINITIONS.items():
        if name not in found:
            definition = tree if tree["type"] in ("all", "any") else {"type": "all", "nodes": [tree]}
            segment = create_segment(name=name, description=description, definition=definition, by=by)
            relive(segment.pk, [now() - timedelta(days=back) for back in range(DAYS, 0, -1)])
            found[name] = segment
            if name == VIP:
                _decide_by_hand(segment, by)
    if PRESS not in found:
        found[PRESS] = create_segment(
            name=PRESS, description="Chosen by hand.", kind=Segment.Kind.LIST, by=by
        )
        people = Customer.objects.current().filter(country="IT").order_by("pk").values_list("pk", flat=True)
        add_members(found[PRESS].pk, customer_ids=people[::40][:36], by=by)
    return {name: refresh(segment.pk) for name, segment in found.items()}


def _decide_by_hand(segment: Segment, by: User) -> None:
    """Two friends of the house count as VIPs whatever they spend, and a competitor does not."""
    members = (
        segment.spells.filter(left_at=None).order_by("customer_id").values_list("customer_id", flat=True)
    )
    others = Customer.objects.current().exclude(pk__in=members).order_by("pk").values_list("pk", flat=True)
    add_members(segment.pk, customer_ids=others[:2], by=by)
    remove_members(segment.pk, customer_ids=members[:1], by=by)
