"""One condition as SQL: a test of the customer's own columns, or a set of customer ids.

User text only ever travels as a parameter. Every test is TRUE or FALSE, never NULL, so NOT is exactly the
complement. `as_of` is the moment of asking: nothing that happened later counts, be it an order, an event,
a statement of consent, an identifier or the customer.
"""
# ruff: noqa: S608 - building SQL is the point here; whatever a user wrote travels as a parameter.

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

from django.utils.timezone import get_default_timezone, localdate

from customers.addresses import address_hash_params, address_hash_sql
from customers.contact import ADDRESS_KIND
from orders.models import Order

from . import tree as t

_COMPARE = {"at_least": ">=", "at_most": "<=", "exactly": "=", "equals": "=", "more_than": ">"}
_COMPARE |= {"less_than": "<"}


def _zero_is(operator: str, value: int) -> bool:
    """Whether nothing at all satisfies the comparison."""
    return {">=": value <= 0, "<=": value >= 0, "=": value == 0}[operator]


@dataclass
class Conditions:
    """Writes conditions and collects the parameters they need.

    With `only`, ids of customers, every set is narrowed to them, so that a few hundred people cost a few
    hundred index searches; whoever else is asked for is in no set then.
    """

    as_of: datetime
    prefix: str = "seg"
    params: dict[str, Any] = field(default_factory=dict)
    only: list[int] | None = None

    def set_of(self, sql: str, *, inside: bool = True) -> str:
        """Whether the customer is in a set: SQL giving each customer_id at most once."""
        raise NotImplementedError

    def condition(self, node: Any) -> str:
        """A boolean SQL expression over the customer and the sets, never NULL."""
        match node:
            case t.Attribute():
                return self._attribute(node)
            case t.Trait():
                return self._compare_json("customer.traits", node)
            case t.HasIdentifier():
                return self._identifier(node)
            case t.ConsentIs():
                return self._consent(node)
            case t.Reachable():
                return self._reachable(node)
            case t.EventCount():
                return self._event(node)
            case t.Sequence():
                return self._sequence(node)
            case t.Orders():
                return self._orders(node)
        raise TypeError(f"not a node: {node!r}")

    # --- parts -----------------------------------------------------------------------------------

    def param(self, value: Any) -> str:
        """A placeholder for a value of the user's."""
        name = f"{self.prefix}_{len(self.params)}"
        self.params[name] = value
        return f"%({name})s"

    def now(self) -> str:
        name = f"{self.prefix}_as_of"
        self.params[name] = self.as_of
        return f"%({name})s"

    def among(self, column: str = "customer_id") -> str:
        """Narrows a set to the people asked about, when only some are."""
        if self.only is None:
            return ""
        name = f"{self.prefix}_only"
        self.params[name] = self.only
        return f" AND {column} = ANY(%({name})s::bigint[])"

    def window(self, column: str, window: Any) -> str:
        """Within the window and not after the moment of asking."""
        parts = [f"{column} <= {self.now()}"]
        if isinstance(window, t.LastDays):
            parts.append(f"{column} > {self.param(self.as_of - timedelta(days=window.days))}")
        elif isinstance(window, t.Between):
            if window.since:
                parts.append(f"{column} >= {self.param(midnight(window.since))}")
            if window.until:
                parts.append(f"{column} < {self.param(midnight(window.until + timedelta(days=1)))}")
        return " AND ".join(parts)

    def _like(self, text: str, *, start: bool = False) -> str:
        for char in "\\%_":
            text = text.replace(char, f"\\{char}")
        return self.param(f"{text}%" if start else f"%{text}%")

    def _compare_text(self, column: str, node: Any) -> str:
        """Text without regard to case; the column is never NULL and '' when unknown."""
        match node.op:
            case "is":
                return f"upper({column}) = upper({self.param(node.value)})"
            case "is_not":
                return f"upper({column}) <> upper({self.param(node.value)})"
            case "one_of" | "not_one_of":
                wanted = self.param([value.upper() for value in node.values])
                found = f"upper({column}) = ANY({wanted}::text[])"
                return found if node.op == "one_of" else f"NOT {found}"
            case "contains":
                return f"upper({column}) LIKE upper({self._like(node.value)})"
            case "not_contains":
                return f"upper({column}) NOT LIKE upper({self._like(node.value)})"
            case "starts_with":
                return f"upper({column}) LIKE upper({self._like(node.value, start=True)})"
            case "set":
                return f"{column} <> ''"
        return f"{column} = ''"

    def _compare_json(self, column: str, node: t.Comparison) -> str:
        """A key of a jsonb object as text, or as a number where it is one."""
        key = self.param(node.key)
        if node.op not in t.NUMBER_OPS:
            return self._compare_text(f"COALESCE({column} ->> {key}, '')", node)
        number = (
            f"CASE WHEN jsonb_typeof({column} -> {key}) = 'number' "
            f"OR {column} ->> {key} ~ '^-?[0-9]{{1,30}}([.][0-9]{{1,30}})?$' "
            f"THEN ({column} ->> {key})::numeric END"
        )
        return f"COALESCE({number} {_COMPARE[node.op]} {self.param(node.number)}, false)"

    # --- conditions ------------------------------------------------------------------------------

    def _attribute(self, node: t.Attribute) -> str:
        if node.name == "home_store":
            return self._home_store(node)
        if node.name == "birth_date":
            return self._birth_date(node)
        if node.name in t.TIME_ATTRIBUTES:
            return self._time(node)
        column = f"customer.{node.name}"
        if node.name in t.TEXT_ATTRIBUTES or node.op in ("set", "not_set"):
            return self._compare_text(column, node)
        wanted = [node.value] if node.value is not None else list(node.values)
        found = f"{column} = ANY({self.param(wanted)}::text[])"
        return found if node.op in ("is", "one_of") else f"NOT {found}"

    def _home_store(self, node: t.Attribute) -> str:
        column = "customer.home_store_id"
        if node.op in ("set", "not_set"):
            return f"{column} IS {'NOT NULL' if node.op == 'set' else 'NULL'}"
        wanted = [node.value] if node.value is not None else list(node.values)
        stores = f"ARRAY(SELECT id FROM inventory_store WHERE code = ANY({self.param(wanted)}::text[]))"
        found = f"COALESCE({column} = ANY({stores}), false)"
        return found if node.op in ("is", "one_of") else f"NOT {found}"

    def _time(self, node: t.Attribute) -> str:
        """created_at, or last_seen_at as it was by then: the column only knows the latest event."""
        column = f"customer.{node.name}"
        if node.name == "last_seen_at":
            column = (
                f"CASE WHEN {column} > {self.now()} THEN (SELECT max(occurred_at) FROM customers_event "
                f"WHERE customer_id = customer.id AND occurred_at <= {self.now()}) ELSE {column} END"
            )
        return self._compare_time(column, node)

    def _compare_time(self, column: str, node: Any) -> str:
        match node.op:
            case "set" | "not_set":
                return f"({column}) IS {'NOT NULL' if node.op == 'set' else 'NULL'}"
            case "before":
                test = f"({column}) < {self.param(midnight(node.date))}"
            case "after":
                test = f"({column}) >= {self.param(midnight(node.date + timedelta(days=1)))}"
            case "in_last":
                test = f"({column}) > {self.param(self.as_of - timedelta(days=node.days))}"
            case _:
                test = f"({column}) <= {self.param(self.as_of - timedelta(days=node.days))}"
        return f"COALESCE({test}, false)"

    def _birth_date(self, node: t.Attribute) -> str:
        column, today = "customer.birth_date", localdate(self.as_of, get_default_timezone())
        match node.op:
            case "set" | "not_set":
                return f"{column} IS {'NOT NULL' if node.op == 'set' else 'NULL'}"
            case "before" | "after":
                test = f"{column} {'<' if node.op == 'before' else '>'} {self.param(node.date)}"
            case "birthday_within":
                days = birthdays(today, node.days or 0)
                test = f"to_char({column}, 'MMDD') = ANY({self.param(days)}::text[])"
            case "age_at_least":
                test = f"{column} <= {self._years_before(today, node.years or 0)}"
            case _:
                test = f"{column} > {self._years_before(today, (node.years or 0) + 1)}"
        return f"COALESCE({test}, false)"

    def _years_before(self, today: date, years: int) -> str:
        return f"{self.param(today)}::date - make_interval(years => {self.param(years)})"

    def _identifier(self, node: t.HasIdentifier) -> str:
        return self.set_of(
            f"SELECT customer_id FROM customers_identifier WHERE kind = {self.param(node.kind)} "
            f"AND created_at <= {self.now()}{self.among()} GROUP BY customer_id",
            inside=node.has,
        )

    def _consents(self, channel: str) -> str:
        """(customer_id, state) of marketing by a channel: the projection, or where it knows a later
        statement than the moment of asking, the last one before it."""
        now, wanted = self.now(), self.param(channel)
        return (
            f"SELECT consent.customer_id, CASE WHEN consent.effective_at <= {now} THEN consent.state ELSE "
            "(SELECT said.state FROM customers_consentevent AS said "
            "WHERE said.customer_id = consent.customer_id AND said.channel = consent.channel "
            f"AND said.purpose = consent.purpose AND said.effective_at <= {now} "
            "ORDER BY said.effective_at DESC, said.id DESC LIMIT 1) END AS state "
            "FROM customers_consent AS consent "
            f"WHERE consent.channel = {wanted} AND consent.purpose = 'marketing'"
            f"{self.among('consent.customer_id')}"
        )

    def _consent(self, node: t.ConsentIs) -> str:
        said = self._consents(node.channel)
        is_known = node.state != "unknown"
        test = f"state = {self.param(node.state)}" if is_known else "state IS NOT NULL"
        return self.set_of(
            f"SELECT customer_id FROM ({said}) AS said WHERE {test}",
            inside=(node.op == "is") == is_known,
        )

    def _reachable(self, node: t.Reachable) -> str:
        """The rule of customers.contact as a set: the preferred address, consent, no suppression."""
        self.params.update(address_hash_params())
        kind = self.param(ADDRESS_KIND[node.channel])
        best = (
            "SELECT DISTINCT ON (customer_id) customer_id, value FROM customers_identifier "
            f"WHERE kind = {kind} AND created_at <= {self.now()}{self.among()} "
            "ORDER BY customer_id, verified_at DESC NULLS LAST, id"
        )
        blocked = (
            "SELECT FROM customers_suppression AS suppression "
            f"WHERE suppression.channel = {self.param(node.channel)} "
            f"AND suppression.created_at <= {self.now()} "
            f"AND suppression.address_hash = {address_hash_sql('best.value')}"
        )
        return self.set_of(
            f"SELECT best.customer_id FROM ({best}) AS best "
            f"JOIN ({self._consents(node.channel)}) AS said ON said.customer_id = best.customer_id "
            f"WHERE said.state = 'granted' AND NOT EXISTS ({blocked})",
            inside=node.can,
        )

    def _happened(self, name: str, window: Any, where: Iterable[Any], alias: str = "event") -> str:
        """Conditions on one event; uses event_name_time, or event_timeline for one customer."""
        parts = [f"{alias}.name = {self.param(name)}", self.window(f"{alias}.occurred_at", window)]
        parts += [self._compare_json(f"{alias}.properties", one) for one in where]
        return " AND ".join(parts)

    def _at_store(self, code: str) -> str:
        return f"(SELECT id FROM inventory_store WHERE code = {self.param(code)})"

    def _event(self, node: t.EventCount) -> str:
        where = self._happened(node.name, node.window, node.where)
        if node.channel:
            where += f" AND event.channel = {self.param(node.channel)}"
        if node.store:
            where += f" AND event.store_id = {self._at_store(node.store)}"
        where += self.among("event.customer_id")
        people = f"SELECT event.customer_id FROM customers_event AS event WHERE {where}"
        if node.op in ("did", "did_not"):
            return self.set_of(f"{people} GROUP BY event.customer_id", inside=node.op == "did")
        return self._aggregate(
            f"{people} GROUP BY event.customer_id", "count(*)", _COMPARE[node.op], node.times or 0
        )

    def _aggregate(self, grouped: str, measure: str, operator: str, value: int) -> str:
        """Compare an aggregate that is zero for people without a row: those are in no set, so where
        zero satisfies the comparison, the set is of the people whom it fails."""
        test = f"{measure} {operator} {self.param(value)}"
        if _zero_is(operator, value):
            return self.set_of(f"{grouped} HAVING NOT ({test})", inside=False)
        return self.set_of(f"{grouped} HAVING {test}")

    def _sequence(self, node: t.Sequence) -> str:
        first = self._happened(node.first, node.window, node.first_where, "first")
        then = self._happened(node.then, t.EVER, node.then_where, "second")
        within = self.param(timedelta(days=node.within))
        followed = (
            "EXISTS (SELECT FROM customers_event AS second "
            "WHERE second.customer_id = first.customer_id AND second.occurred_at > first.occurred_at "
            f"AND second.occurred_at <= first.occurred_at + {within} AND {then})"
        )
        if not node.did:
            followed = f"first.occurred_at + {within} <= {self.now()} AND NOT {followed}"
        return self.set_of(
            f"SELECT first.customer_id FROM customers_event AS first WHERE {first} AND {followed}"
            f"{self.among('first.customer_id')} GROUP BY first.customer_id"
        )

    def _orders(self, node: t.Orders) -> str:
        where = [f"status = '{Order.Status.COMPLETED}'", self.window("placed_at", node.window)]
        if node.channel:
            where.append(f"channel = {self.param(node.channel)}")
        if node.store:
            where.append(f"store_id = {self._at_store(node.store)}")
        if node.currency:
            where.append(f"currency = {self.param(node.currency)}")
        people = f"SELECT customer_id FROM orders_order WHERE {' AND '.join(where)}{self.among()}"
        grouped = f"{people} GROUP BY customer_id"
        if node.measure in ("first", "last"):
            time_of = "min(placed_at)" if node.measure == "first" else "max(placed_at)"
            return self.set_of(f"{grouped} HAVING {self._compare_time(time_of, node)}")
        operator, value = _COMPARE[node.op], node.value or 0
        if node.measure == "average":  # Without a division, and undefined without an order.
            return self.set_of(f"{grouped} HAVING sum(total_minor) {operator} {self.param(value)} * count(*)")
        measure = {"count": "count(*)", "quantity": "sum(quantity)", "revenue": "sum(total_minor)"}
        return self._aggregate(grouped, measure[node.measure], operator, value)


def midnight(day: date) -> datetime:
    """The start of a day in the time zone of the house."""
    return datetime.combine(day, time.min, tzinfo=get_default_timezone())


def birthdays(today: date, days: int) -> list[str]:
    """The birthdays from today to some days ahead, as MMDD; 29 February is kept on the 28th when there
    is none."""
    found = []
    for ahead in range(days + 1):
        day = today + timedelta(days=ahead)
        found.append(f"{day:%m%d}")
        if (day.month, day.day) == (2, 28) and (day + timedelta(days=1)).month == 3:
            found.append("0229")
    return found
