"""A tree in the words of the person reading it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext, pgettext_lazy

from core.templatetags.ui import country_name, language_name, money, num
from customers.models import Channel, Customer, Identifier
from inventory.models import Store
from orders.models import Order

from . import tree as t
from .models import Segment

ATTRIBUTES: dict[str, Promise] = {
    "first_name": gettext_lazy("First name"),
    "last_name": gettext_lazy("Last name"),
    "city": gettext_lazy("City"),
    "country": gettext_lazy("Country"),
    "language": gettext_lazy("Language"),
    "home_store": gettext_lazy("Home store"),
    "timezone": gettext_lazy("Time zone"),
    "birth_date": gettext_lazy("Birthday"),
    "created_at": gettext_lazy("Customer since"),
    "last_seen_at": gettext_lazy("Last seen"),
    "status": gettext_lazy("Status"),
}
CONSENT_STATES: dict[str, Promise] = {
    "granted": pgettext_lazy("consent", "Yes"),
    "denied": pgettext_lazy("consent", "No"),
    "revoked": pgettext_lazy("consent", "Withdrawn"),
    "unknown": pgettext_lazy("consent", "Not known"),
}


@dataclass
class Names:
    """What codes and ids in a tree are called; reads each table once, and only when asked."""

    _stores: dict[str, str] | None = None
    _segments: dict[int, str] = field(default_factory=dict)

    def store(self, code: str) -> str:
        if self._stores is None:
            self._stores = dict(Store.objects.values_list("code", "name"))
        return self._stores.get(code, code)

    def segment(self, pk: int) -> str:
        if pk not in self._segments:
            self._segments |= dict(Segment.objects.values_list("pk", "name"))
        return self._segments.get(pk) or _("a segment that is gone")


def describe(node: Any, names: Names | None = None) -> str:
    """One sentence for a condition: “Bought at least 2 times in the last 90 days”."""
    names = names or Names()
    match node:
        case t.Attribute():
            return _attribute(node, names)
        case t.Trait():
            return _compared(node, f"“{node.key}”")
        case t.HasIdentifier():
            return _identifier(node)
        case t.ConsentIs():
            return _consent(node)
        case t.Reachable():
            sentence = _("Can be reached by {channel}") if node.can else _("Cannot be reached by {channel}")
            return sentence.format(channel=Channel(node.channel).label)
        case t.EventCount():
            return _event(node, names)
        case t.Sequence():
            return _sequence(node)
        case t.Orders():
            return _orders(node, names)
        case t.InSegment():
            sentence = _("Is in “{segment}”") if node.member else _("Is not in “{segment}”")
            return sentence.format(segment=names.segment(node.segment))
        case t.AllOf():
            return _("All of these hold") if node.nodes else _("Everybody")
        case t.AnyOf():
            return _("At least one of these holds")
    return _("None of these hold")


def _list(values: Iterable[str]) -> str:
    """At most five values, then how many more."""
    shown = list(values)
    text = ", ".join(shown[:5])
    if len(shown) <= 5:
        return text
    return _("{values} and {more} more").format(values=text, more=num(len(shown) - 5))


def _with(sentence: str, *details: str) -> str:
    """A sentence and what narrows it."""
    for detail in details:
        if detail:
            sentence = pgettext("narrowed", "{sentence} {detail}").format(sentence=sentence, detail=detail)
    return sentence


def _day(day: date | None) -> str:
    return date_format(day, "DATE_FORMAT") if day else ""


def days(number: int) -> str:
    return ngettext("{n} day", "{n} days", number).format(n=num(number))


def window_words(window: Any) -> str:
    """“in the last 90 days”; empty for ever."""
    if isinstance(window, t.LastDays):
        return _("in the last {days}").format(days=days(window.days))
    if isinstance(window, t.Between):
        if window.since and window.until:
            return _("from {since} to {until}").format(since=_day(window.since), until=_day(window.until))
        if window.since:
            return _("since {since}").format(since=_day(window.since))
        return _("until {until}").format(until=_day(window.until))
    return ""


def _compared(node: Any, what: str, show: Any = str) -> str:
    """A comparison with text or a number; `show` turns a code into its name."""
    sentences = {
        "is": _("{what} is {value}"),
        "is_not": _("{what} is not {value}"),
        "one_of": _("{what} is one of {values}"),
        "not_one_of": _("{what} is none of {values}"),
        "contains": _("{what} contains {value}"),
        "not_contains": _("{what} does not contain {value}"),
        "starts_with": _("{what} starts with {value}"),
        "set": _("{what} is known"),
        "not_set": _("{what} is not known"),
        "equals": _("{what} equals {number}"),
        "more_than": _("{what} is more than {number}"),
        "less_than": _("{what} is less than {number}"),
        "at_least": _("{what} is at least {number}"),
        "at_most": _("{what} is at most {number}"),
    }
    number = getattr(node, "number", None)
    return sentences[node.op].format(
        what=what,
        value=show(node.value) if node.value is not None else "",
        values=_list(show(one) for one in node.values),
        number=""
        if number is None
        else num(number.normalize(), max(0, -number.normalize().as_tuple().exponent)),
    )


def value_name(attribute: str, code: str, names: Names) -> str:
    """What a value of an attribute is called: IT is Italy."""
    if attribute == "country":
        return str(country_name(code))
    if attribute == "language":
        return str(language_name(code))
    if attribute == "home_store":
        return names.store(code)
    if attribute == "status":
        return str(dict(Customer.Status.choices).get(code, code))
    return code


def _attribute(node: t.Attribute, names: Names) -> str:
    what = str(ATTRIBUTES[node.name])
    if node.op in t.ONE_VALUE | t.MANY_VALUES | {"set", "not_set"}:
        return _compared(node, what, lambda code: value_name(node.name, code, names))
    sentences = {
        "before": _("{what} before {day}"),
        "after": _("{what} after {day}"),
        "in_last": _("{what} in the last {days}"),
        "older_than": _("{what} more than {days} ago"),
        "birthday_within": _("Birthday within the next {days}"),
        "age_at_least": _("At least {years} years old"),
        "age_at_most": _("At most {years} years old"),
    }
    if node.op == "birthday_within" and node.days == 0:
        return _("Birthday is today")
    return sentences[node.op].format(
        what=what, day=_day(node.date), days=days(node.days or 0), years=num(node.years or 0)
    )


def _identifier(node: t.HasIdentifier) -> str:
    kind = str(dict(Identifier.Kind.choices).get(node.kind, node.kind))
    sentence = _("Has an identifier of kind {kind}") if node.has else _("Has no identifier of kind {kind}")
    return sentence.format(kind=kind)


def _consent(node: t.ConsentIs) -> str:
    sentence = _("Consent to {channel} is “{state}”")
    if node.op == "is_not":
        sentence = _("Consent to {channel} is not “{state}”")
    return sentence.format(channel=Channel(node.channel).label, state=CONSENT_STATES[node.state])


def _where(filters: Iterable[t.PropertyFilter]) -> str:
    said = [_compared(one, one.key) for one in filters]
    return _("where {filters}").format(filters=_(" and ").join(said)) if said else ""


def _via(channel: str | None) -> str:
    if not channel:
        return ""
    label = dict([*Order.Channel.choices, *Channel.choices]).get(channel, channel)
    return _("by channel {channel}").format(channel=label)


def _at(store: str | None, names: Names) -> str:
    return _("in {store}").format(store=names.store(store)) if store else ""


def _event(node: t.EventCount, names: Names) -> str:
    times = node.times or 0
    sentence = {
        "did": _("Did “{event}”"),
        "did_not": _("Did not do “{event}”"),
        "at_least": ngettext("Did “{event}” at least {n} time", "Did “{event}” at least {n} times", times),
        "at_most": ngettext("Did “{event}” at most {n} time", "Did “{event}” at most {n} times", times),
        "exactly": ngettext("Did “{event}” exactly {n} time", "Did “{event}” exactly {n} times", times),
    }[node.op].format(event=node.name, n=num(times))
    return _with(
        sentence,
        window_words(node.window),
        _where(node.where),
        _via(node.channel),
        _at(node.store, names),
    )


def _sequence(node: t.Sequence) -> str:
    first = _with(
        _("Did “{event}”").format(event=node.first), window_words(node.window), _where(node.first_where)
    )
    then = _with(f"“{node.then}”", _where(node.then_where))
    sentence = _("{first} and then {then} within {days}")
    if not node.did:
        sentence = _("{first} and then did not do {then} within {days}")
    return sentence.format(first=first, then=then, days=days(node.within))


def _orders(node: t.Orders, names: Names) -> str:
    value = node.value or 0
    if node.measure in ("first", "last"):
        sentence = _bought_at(node)
    elif node.measure == "count":
        sentence = {
            "at_least": ngettext("Bought at least {n} time", "Bought at least {n} times", value),
            "at_most": ngettext("Bought at most {n} time", "Bought at most {n} times", value),
            "exactly": ngettext("Bought exactly {n} time", "Bought exactly {n} times", value),
        }[node.op].format(n=num(value))
        if value == 0 and node.op != "at_least":
            sentence = _("Bought nothing")
    elif node.measure == "quantity":
        sentence = {
            "at_least": ngettext("Bought at least {n} piece", "Bought at least {n} pieces", value),
            "at_most": ngettext("Bought at most {n} piece", "Bought at most {n} pieces", value),
            "exactly": ngettext("Bought exactly {n} piece", "Bought exactly {n} pieces", value),
        }[node.op].format(n=num(value))
    else:
        sentence = _amount(node)
    return _with(sentence, window_words(node.window), _via(node.channel), _at(node.store, names))


def _bought_at(node: t.Orders) -> str:
    what = _("First order") if node.measure == "first" else _("Last order")
    return {
        "before": _("{what} before {day}"),
        "after": _("{what} after {day}"),
        "in_last": _("{what} in the last {days}"),
        "older_than": _("{what} more than {days} ago"),
    }[node.op].format(what=what, day=_day(node.date), days=days(node.days or 0))


def _amount(node: t.Orders) -> str:
    sentences = {
        ("revenue", "at_least"): _("Spent at least {amount}"),
        ("revenue", "at_most"): _("Spent at most {amount}"),
        ("revenue", "exactly"): _("Spent exactly {amount}"),
        ("average", "at_least"): _("Average order at least {amount}"),
        ("average", "at_most"): _("Average order at most {amount}"),
        ("average", "exactly"): _("Average order exactly {amount}"),
    }
    return sentences[node.measure, node.op].format(amount=money(node.value or 0, node.currency or "EUR"))


@dataclass(frozen=True)
class Outline:
    """A tree to be read: what a group asks, or a condition, with what stands under it."""

    sentence: str
    parts: tuple["Outline", ...] = ()


def outline(tree: Any, names: Names | None = None) -> Outline:
    """The whole tree in words."""
    names = names or Names()
    if isinstance(tree, t.AllOf | t.AnyOf):
        if len(tree.nodes) == 1:
            return outline(tree.nodes[0], names)
        return Outline(describe(tree), tuple(outline(node, names) for node in tree.nodes))
    if isinstance(tree, t.Not):
        return Outline(describe(tree), (outline(tree.node, names),))
    return Outline(capfirst(describe(tree, names)))
