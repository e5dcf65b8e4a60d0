"""What the builder offers to choose from: values that occur, read from bounded samples or indexes."""

from functools import cached_property
from typing import Any

from babel.numbers import get_currency_precision
from django.db import connection
from django.utils.translation import gettext as _

from customers.models import Channel, Customer, Identifier
from inventory.models import Store
from orders.models import Order

from .words import Names, value_name

Pairs = list[tuple[str, str]]

# A sample of the newest rows: the cost stays the same however many customers there are.
_VALUES = """SELECT DISTINCT {column} FROM
    (SELECT {column} FROM customers_customer ORDER BY id DESC LIMIT 20000) AS newest
    WHERE {column} <> '' ORDER BY 1 LIMIT 300"""
_TRAIT_KEYS = """SELECT DISTINCT jsonb_object_keys(traits) FROM
    (SELECT traits FROM customers_customer ORDER BY id DESC LIMIT 5000) AS newest
    WHERE jsonb_typeof(traits) = 'object' ORDER BY 1 LIMIT 300"""
_PROPERTY_KEYS = """SELECT DISTINCT jsonb_object_keys(properties) FROM
    (SELECT properties FROM customers_event ORDER BY id DESC LIMIT 5000) AS newest
    WHERE jsonb_typeof(properties) = 'object' ORDER BY 1 LIMIT 300"""
# Jumps from name to name along the index event_name_time instead of reading every event.
_EVENT_NAMES = """WITH RECURSIVE names AS (
        (SELECT name FROM customers_event ORDER BY name LIMIT 1)
        UNION ALL
        SELECT (SELECT name FROM customers_event WHERE name > names.name ORDER BY name LIMIT 1)
        FROM names WHERE names.name IS NOT NULL)
    SELECT name FROM names WHERE name IS NOT NULL LIMIT 300"""
_CURRENCIES = """SELECT DISTINCT currency FROM
    (SELECT currency FROM orders_order ORDER BY id DESC LIMIT 5000) AS newest ORDER BY 1"""
_SAMPLED = frozenset({"country", "language", "timezone", "city", "first_name", "last_name"})


def _column(sql: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return [row[0] for row in cursor.fetchall()]


class Choices:
    """Asked once per page, each kind only when a condition on the page needs it."""

    def __init__(self, *, segments: Any, without: int | None = None) -> None:
        """`segments` are those the reader sees; `without` is the one being edited."""
        self._segments = segments
        self._without = without
        self._sampled: dict[str, list[str]] = {}
        self.names = Names()

    def seen(self, attribute: str) -> list[str]:
        """Values an attribute has among recent customers."""
        if attribute not in _SAMPLED:
            raise ValueError(attribute)
        if attribute not in self._sampled:
            self._sampled[attribute] = _column(_VALUES.format(column=attribute))
        return self._sampled[attribute]

    def codes(self, attribute: str) -> Pairs:
        """The values of an attribute that is chosen, not written, with their names."""
        if attribute == "home_store":
            return self.stores
        if attribute == "status":
            return [(one, str(Customer.Status(one).label)) for one in ("known", "anonymous")]
        named = [(code, value_name(attribute, code, self.names)) for code in self.seen(attribute)]
        return sorted(named, key=lambda pair: pair[1])

    @cached_property
    def stores(self) -> Pairs:
        return list(Store.objects.values_list("code", "name"))

    @cached_property
    def segments(self) -> Pairs:
        found = self._segments.active().exclude(pk=self._without).values_list("pk", "name")
        return [(str(pk), name) for pk, name in found]

    @cached_property
    def event_names(self) -> list[str]:
        return _column(_EVENT_NAMES)

    @cached_property
    def trait_keys(self) -> list[str]:
        return _column(_TRAIT_KEYS)

    @cached_property
    def property_keys(self) -> list[str]:
        return _column(_PROPERTY_KEYS)

    @cached_property
    def currencies(self) -> Pairs:
        return [(code, code) for code in _column(_CURRENCIES) or ["EUR"]]

    @property
    def channels(self) -> Pairs:
        return [(value, str(label)) for value, label in Channel.choices]

    @property
    def order_channels(self) -> Pairs:
        return [(value, str(label)) for value, label in Order.Channel.choices]

    @property
    def event_channels(self) -> Pairs:
        return [*self.order_channels, *self.channels]

    @property
    def identifier_kinds(self) -> Pairs:
        return [(value, str(label)) for value, label in Identifier.Kind.choices]


def precision(currency: str) -> int:
    """How many decimals a currency has."""
    return int(get_currency_precision(currency))


def anywhere(pairs: Pairs) -> Pairs:
    return [("", _("anywhere")), *pairs]


def by_any(pairs: Pairs) -> Pairs:
    return [("", _("any channel")), *pairs]
