"""The segment language evaluated person by person in Python: slow, plain, and the judge of the compiler."""

import re
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings

from customers.addresses import address_hash
from customers.models import ConsentEvent, Customer, Event, Identifier, Suppression
from orders.models import Order
from segments.models import ListMember, Override, Segment
from segments.tree import parse_tree

HOUSE = ZoneInfo(settings.TIME_ZONE)
ADDRESS = {"email": "email", "sms": "phone"}


@dataclass
class Person:
    customer: Customer
    identifiers: list[Identifier] = field(default_factory=list)
    statements: list[ConsentEvent] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    lists: list[ListMember] = field(default_factory=list)
    overrides: list[Override] = field(default_factory=list)


@dataclass
class World:
    people: dict[int, Person]
    segments: dict[int, Segment]
    suppressions: list[Suppression]

    @classmethod
    def load(cls) -> "World":
        people = {one.pk: Person(one) for one in Customer.objects.select_related("home_store")}
        for row in Identifier.objects.all():
            people[row.customer_id].identifiers.append(row)
        for row in ConsentEvent.objects.all():
            people[row.customer_id].statements.append(row)
        for row in Event.objects.select_related("store"):
            people[row.customer_id].events.append(row)
        for row in Order.objects.select_related("store"):
            people[row.customer_id].orders.append(row)
        for row in ListMember.objects.all():
            people[row.customer_id].lists.append(row)
        for row in Override.objects.all():
            people[row.customer_id].overrides.append(row)
        return cls(people, {one.pk: one for one in Segment.objects.all()}, list(Suppression.objects.all()))

    def matching(self, tree: Any, as_of: datetime) -> set[int]:
        return {
            pk
            for pk, person in self.people.items()
            if person.customer.status in ("anonymous", "known")
            and person.customer.created_at <= as_of
            and self.holds(tree, person, as_of)
        }

    def holds(self, node: Any, person: Person, as_of: datetime) -> bool:
        if node.type == "all":
            return all(self.holds(one, person, as_of) for one in node.nodes)
        if node.type == "any":
            return any(self.holds(one, person, as_of) for one in node.nodes)
        if node.type == "not":
            return not self.holds(node.node, person, as_of)
        return bool(getattr(self, f"_{node.type}")(node, person, as_of))

    def _attribute(self, node: Any, person: Person, as_of: datetime) -> bool:
        customer = person.customer
        if node.name == "birth_date":
            return born(node, customer.birth_date, as_of.astimezone(HOUSE).date())
        if node.name == "created_at":
            return timed(node, customer.created_at, as_of)
        if node.name == "last_seen_at":
            seen = customer.last_seen_at
            if seen and seen > as_of:
                seen = max((e.occurred_at for e in person.events if e.occurred_at <= as_of), default=None)
            return timed(node, seen, as_of)
        if node.name == "home_store":
            return text(node, customer.home_store.code if customer.home_store else "", fold=False)
        folds = node.name in ("first_name", "last_name", "city")
        return text(node, getattr(customer, node.name), fold=folds)

    def _trait(self, node: Any, person: Person, as_of: datetime) -> bool:
        return compared(node, person.customer.traits)

    def _identifier(self, node: Any, person: Person, as_of: datetime) -> bool:
        return node.has == any(i.kind == node.kind and i.created_at <= as_of for i in person.identifiers)

    def _state(self, channel: str, person: Person, as_of: datetime) -> str:
        said = [
            (one.effective_at, one.pk, one.state)
            for one in person.statements
            if one.channel == channel and one.purpose == "marketing" and one.effective_at <= as_of
        ]
        return max(said)[2] if said else "unknown"

    def _consent(self, node: Any, person: Person, as_of: datetime) -> bool:
        return (self._state(node.channel, person, as_of) == node.state) == (node.op == "is")

    def _reachable(self, node: Any, person: Person, as_of: datetime) -> bool:
        kind = ADDRESS[node.channel]
        owned = [i for i in person.identifiers if i.kind == kind and i.created_at <= as_of]
        verified = sorted(
            (i for i in owned if i.verified_at), key=lambda i: (-i.verified_at.timestamp(), i.pk)
        )
        rest = sorted((i for i in owned if not i.verified_at), key=lambda i: i.pk)
        best = next(iter([*verified, *rest]), None)
        can = (
            best is not None
            and self._state(node.channel, person, as_of) == "granted"
            and not any(
                s.channel == node.channel
                and bytes(s.address_hash) == address_hash(best.value)
                and s.created_at <= as_of
                for s in self.suppressions
            )
        )
        return can == node.can

    def _event(self, node: Any, person: Person, as_of: datetime) -> bool:
        times = sum(
            within(node.window, event.occurred_at, as_of)
            and event.name == node.name
            and (node.channel is None or event.channel == node.channel)
            and (node.store is None or (event.store is not None and event.store.code == node.store))
            and all(compared(one, event.properties) for one in node.where)
            for event in person.events
        )
        if node.op == "did":
            return times > 0
        return times == 0 if node.op == "did_not" else counted(node.op, times, node.times)

    def _sequence(self, node: Any, person: Person, as_of: datetime) -> bool:
        step = timedelta(days=node.within)
        for first in person.events:
            if first.name != node.first or not within(node.window, first.occurred_at, as_of):
                continue
            if not all(compared(one, first.properties) for one in node.first_where):
                continue
            followed = any(
                then.name == node.then
                and first.occurred_at < then.occurred_at <= min(first.occurred_at + step, as_of)
                and all(compared(one, then.properties) for one in node.then_where)
                for then in person.events
            )
            if node.did and followed:
                return True
            if not node.did and not followed and first.occurred_at + step <= as_of:
                return True
        return False

    def _orders(self, node: Any, person: Person, as_of: datetime) -> bool:
        orders = [
            one
            for one in person.orders
            if one.status == "completed"
            and within(node.window, one.placed_at, as_of)
            and (node.channel is None or one.channel == node.channel)
            and (node.store is None or (one.store is not None and one.store.code == node.store))
            and (node.currency is None or one.currency == node.currency)
        ]
        if node.measure in ("first", "last"):
            pick = min if node.measure == "first" else max
            return timed(node, pick((one.placed_at for one in orders), default=None), as_of)
        if node.measure == "average":
            total = sum(one.total_minor for one in orders)
            return bool(orders) and counted(node.op, Decimal(total) / len(orders), node.value)
        value = {
            "count": len(orders),
            "quantity": sum(one.quantity for one in orders),
            "revenue": sum(one.total_minor for one in orders),
        }[node.measure]
        return counted(node.op, value, node.value)

    def _segment(self, node: Any, person: Person, as_of: datetime) -> bool:
        segment = self.segments[node.segment]
        if segment.kind == "list":
            inside = any(m.segment_id == segment.pk and m.added_at <= as_of for m in person.lists)
        else:
            inside = self.holds(parse_tree(segment.definition), person, as_of)
            for one in person.overrides:
                if one.segment_id == segment.pk and one.at <= as_of:
                    inside = one.kind == "include"
        return inside == node.member


def counted(op: str, number: Any, wanted: Any) -> bool:
    return {"at_least": number >= wanted, "at_most": number <= wanted, "exactly": number == wanted}[op]


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=HOUSE)


def within(window: Any, at: datetime, as_of: datetime) -> bool:
    if at > as_of:
        return False
    if window.type == "last":
        return at > as_of - timedelta(days=window.days)
    if window.type == "between":
        day = at.astimezone(HOUSE).date()
        return (not window.since or day >= window.since) and (not window.until or day <= window.until)
    return True


def timed(node: Any, at: datetime | None, as_of: datetime) -> bool:
    if node.op in ("set", "not_set"):
        return (at is not None) == (node.op == "set")
    if at is None:
        return False
    if node.op == "before":
        return at < midnight(node.date)
    if node.op == "after":
        return at.astimezone(HOUSE).date() > node.date
    recent = at > as_of - timedelta(days=node.days)
    return recent == (node.op == "in_last")


def born(node: Any, birth: date | None, today: date) -> bool:
    if node.op in ("set", "not_set"):
        return (birth is not None) == (node.op == "set")
    if birth is None:
        return False
    if node.op == "before":
        return birth < node.date
    if node.op == "after":
        return birth > node.date
    if node.op == "birthday_within":
        return any(birthday_on(birth, today + timedelta(days=n)) for n in range(node.days + 1))
    age = today.year - birth.year - ((today.month, today.day) < (birth.month, birth.day))
    return age >= node.years if node.op == "age_at_least" else age <= node.years


def birthday_on(birth: date, day: date) -> bool:
    try:
        return birth.replace(year=day.year) == day
    except ValueError:
        return (day.month, day.day) == (2, 28)


def text(node: Any, value: str, *, fold: bool = True) -> bool:
    def same(one: str) -> str:
        return one.upper() if fold else one

    value = same(value)
    match node.op:
        case "is":
            return value == same(node.value)
        case "is_not":
            return value != same(node.value)
        case "one_of":
            return value in [same(one) for one in node.values]
        case "not_one_of":
            return value not in [same(one) for one in node.values]
        case "contains":
            return same(node.value) in value
        case "not_contains":
            return same(node.value) not in value
        case "starts_with":
            return value.startswith(same(node.value))
        case "set":
            return value != ""
    return value == ""


def compared(node: Any, data: dict[str, Any]) -> bool:
    raw = data.get(node.key)
    if node.number is None:
        shown = (
            {None: "", True: "true", False: "false"}.get(raw, str(raw))
            if not isinstance(raw, int | float) or isinstance(raw, bool)
            else str(raw)
        )
        return text(node, shown)
    if isinstance(raw, bool) or raw is None:
        return False
    if isinstance(raw, str) and not re.fullmatch(r"-?[0-9]{1,30}([.][0-9]{1,30})?", raw):
        return False
    number = Decimal(str(raw))
    return {
        "equals": number == node.number,
        "more_than": number > node.number,
        "less_than": number < node.number,
        "at_least": number >= node.number,
        "at_most": number <= node.number,
    }[node.op]
