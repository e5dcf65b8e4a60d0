from itertools import count
from typing import Any

from customers.models import Customer
from segments.models import ListMember, Segment

_numbers = count(1)

EVERYBODY: dict[str, Any] = {"type": "all", "nodes": []}


def make_segment(*, name: str = "", definition: dict[str, Any] | None = None, **fields: Any) -> Segment:
    """A segment by rules; everybody unless said otherwise."""
    return Segment.objects.create(
        name=name or f"Segment {next(_numbers)}", definition=definition or EVERYBODY, **fields
    )


def make_list(*members: Customer, name: str = "", **fields: Any) -> Segment:
    """A fixed list with these people on it."""
    segment = Segment.objects.create(name=name or f"List {next(_numbers)}", kind=Segment.Kind.LIST, **fields)
    ListMember.objects.bulk_create(ListMember(segment=segment, customer=one) for one in members)
    return segment
