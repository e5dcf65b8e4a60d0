"""What can move people into or out of a segment: events by name, the clock, or only what is written of them.

A new customer and a changed attribute, identifier or consent concern every segment and are not named here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from customers import events

from . import tree as t
from .models import Segment

# Orders and addresses that stop working are told of by events of these families; a message that only
# travels says nothing of an address.
_ORDERS = "Order "
_MESSAGES = "Message "
_TRAVELLING = frozenset(
    {events.MESSAGE_SENT, events.MESSAGE_DELIVERED, events.MESSAGE_OPENED, events.MESSAGE_CLICKED}
)
_BY_THE_CLOCK = frozenset({"in_last", "older_than", "birthday_within", "age_at_least", "age_at_most"})


@dataclass(frozen=True)
class Concerns:
    """`names` are events asked for by name; `clock` is set where time alone moves people."""

    names: frozenset[str] = frozenset()
    any_event: bool = False
    orders: bool = False
    addresses: bool = False
    clock: bool = False

    def __or__(self, other: "Concerns") -> "Concerns":
        return Concerns(
            self.names | other.names,
            self.any_event or other.any_event,
            self.orders or other.orders,
            self.addresses or other.addresses,
            self.clock or other.clock,
        )

    def touches(self, event: str) -> bool:
        """Whether an event of this name can move anybody."""
        return (
            self.any_event
            or event in self.names
            or (self.orders and event.startswith(_ORDERS))
            or (self.addresses and event.startswith(_MESSAGES) and event not in _TRAVELLING)
        )


@dataclass
class Register:
    """The concerns of some segments, and the order in which to count them: what others name comes first."""

    segments: Mapping[int, Segment]
    _known: dict[int, Concerns] = field(default_factory=dict)

    @classmethod
    def of_active(cls) -> "Register":
        return cls({one.pk: one for one in Segment.objects.active().order_by("pk")})

    def of(self, segment_id: int) -> Concerns:
        """What concerns a segment, with all that is inside it; of a broken one, nothing."""
        if segment_id not in self._known:
            self._known[segment_id] = Concerns()  # Should it contain itself, this ends the walk.
            tree = self._tree(segment_id)
            self._known[segment_id] = self._of_nodes(t.conditions_of(tree)) if tree else Concerns()
        return self._known[segment_id]

    def in_order(self, segment_ids: Iterable[int]) -> list[int]:
        """These segments, each after those of them it names, else as given."""
        wanted, ordered = list(dict.fromkeys(segment_ids)), dict[int, None]()
        for pk in wanted:
            self._put(pk, set(wanted), ordered, frozenset())
        return list(ordered)

    def _put(self, pk: int, wanted: set[int], ordered: dict[int, None], above: frozenset[int]) -> None:
        if pk in ordered or pk in above:
            return
        for named in sorted(self._named(pk)):
            self._put(named, wanted, ordered, above | {pk})
        if pk in wanted:
            ordered[pk] = None

    def _named(self, segment_id: int) -> set[int]:
        tree = self._tree(segment_id)
        return t.segments_in(tree) if tree else set()

    def _tree(self, segment_id: int) -> Any:
        segment = self.segments.get(segment_id)
        if segment is None or segment.is_list:
            return None
        try:
            return t.parse_tree(segment.definition)
        except t.TreeError:
            return None

    def _of_nodes(self, nodes: Iterable[Any]) -> Concerns:
        found = Concerns()
        for node in nodes:
            found |= self.of(node.segment) if isinstance(node, t.InSegment) else concerns_of(node)
        return found


def concerns_of(node: Any) -> Concerns:
    """What can change the answer of one condition, other than the customer's own row."""
    match node:
        case t.Attribute(name="last_seen_at"):
            return Concerns(any_event=True, clock=node.op in _BY_THE_CLOCK)
        case t.Attribute():
            return Concerns(clock=node.op in _BY_THE_CLOCK)
        case t.Reachable():  # An address may be blocked without an event.
            return Concerns(addresses=True, clock=True)
        case t.EventCount():
            return Concerns(frozenset({node.name}), clock=isinstance(node.window, t.LastDays))
        case t.Sequence():
            by_the_clock = isinstance(node.window, t.LastDays) or not node.did
            return Concerns(frozenset({node.first, node.then}), clock=by_the_clock)
        case t.Orders():
            by_the_clock = isinstance(node.window, t.LastDays) or node.op in _BY_THE_CLOCK
            return Concerns(orders=True, clock=by_the_clock)
    return Concerns()
