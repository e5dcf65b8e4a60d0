"""Order files, on the machinery of `customers.imports`: each order a row, and an event of its customer.

An order is known by its source and number. A second row about it updates it, and says so with an event of
its own: the log is never rewritten. An order never moves to another customer by import.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers import events
from customers.imports import cells
from customers.imports.apply import Outcome, Setup
from customers.imports.fields import Field
from customers.imports.people import KEY_FIELDS, CellReader, KeyReader, ReadCell, Rejected, store_finder
from customers.imports.reader import Row
from customers.imports.staging import find_owners, stage
from customers.models import Identifier, ImportJob

from .models import Order

KEYS: tuple[str, ...] = (Identifier.Kind.USER_ID, Identifier.Kind.EMAIL, Identifier.Kind.PHONE)
ORDER_FIELDS: tuple[Field, ...] = (
    *KEY_FIELDS,
    Field(
        "number",
        gettext_lazy("Order number"),
        "order number, order no, order id, order, number, id, receipt, receipt number, "
        "numero ordine, ordine, id ordine, scontrino, numero scontrino, transaction id",
        is_required=True,
    ),
    Field(
        "placed_at",
        gettext_lazy("Placed at"),
        "placed on, placed at, order date, date, purchased at, purchase date, created at, paid at, "
        "data, data ordine, data acquisto, ordered at, timestamp",
        is_required=True,
    ),
    Field(
        "total",
        gettext_lazy("Total"),
        "total, amount, order total, total amount, grand total, totale, importo, value, "
        "totale ordine, revenue, price",
        is_required=True,
    ),
    Field("currency", gettext_lazy("Currency"), "currency, currency code, valuta, divisa"),
    Field(
        "quantity",
        gettext_lazy("Pieces"),
        "quantity, qty, items, pieces, item count, quantita, pezzi, articoli",
    ),
    Field("channel", gettext_lazy("Channel"), "channel, sales channel, canale, canale di vendita"),
    Field(
        "store",
        gettext_lazy("Store"),
        "store, store code, shop, location, store name, negozio, punto vendita, codice negozio",
    ),
)
CHANNEL_WORDS: dict[str, str] = {
    Order.Channel.WEB: "web online website site ecommerce e-commerce eshop sito internet",
    Order.Channel.STORE: "store shop pos retail till negozio cassa boutique in-store",
    Order.Channel.APP: "app mobile application applicazione",
    Order.Channel.PHONE: "phone telephone telefono call-center",
}
CHANNELS = {word: str(channel) for channel, words in CHANNEL_WORDS.items() for word in words.split()}


class OrderRow(NamedTuple):
    """A row of an order file; quantity, channel and store are None where the file does not say."""

    line: int
    keys: list[tuple[str, str]]
    number: str
    placed_at: datetime
    total_minor: int
    currency: str
    quantity: int | None
    channel: str | None
    store_id: int | None


class OrderReader:
    """Turns rows of one order file into OrderRows."""

    def __init__(self, columns: Sequence[str], mapping: dict[str, str], options: dict[str, Any]) -> None:
        self.reader = reader = CellReader(columns, mapping)
        self.keys = KeyReader(reader, KEYS)
        self.country = options.get("country", "")
        self.own_currency = options.get("currency") or "EUR"
        self.decimal_mark = options.get("decimal_mark", "")
        self.number = reader.field("number", partial(cells.text, longest=100))
        self.placed_at = reader.field("placed_at", cells.past_moment)
        self.currency = reader.field("currency", cells.currency)
        self.channel = reader.field("channel", _channel)
        self.quantity = reader.field("quantity", cells.whole_number)
        self.store = reader.field("store", store_finder())
        self.totals: dict[str, ReadCell] = {}  # By currency: it says how many decimals there are.

    def read(self, row: Row) -> OrderRow:
        """Raises Rejected with the column and the reason."""
        texts = row.cells
        currency = self.currency(texts) or self.own_currency
        number, placed_at = self.number(texts), self.placed_at(texts)
        total = self._total_in(currency)(texts)
        for value, missing in (
            (number, _("The order number is empty.")),
            (placed_at, _("The date is empty.")),
            (total, _("The total is empty.")),
        ):
            if value is None:
                raise Rejected(missing)
        keys = self.keys.read(texts, self.country)
        store_id = self.store(texts)
        channel = self.channel(texts) or (Order.Channel.STORE.value if store_id else None)
        quantity = self.quantity(texts)
        return OrderRow(row.line, keys, number, placed_at, total, currency, quantity, channel, store_id)

    def _total_in(self, currency: str) -> ReadCell:
        if currency not in self.totals:
            amount = partial(cells.minor_units, currency_code=currency, decimal_mark=self.decimal_mark)
            self.totals[currency] = self.reader.field("total", amount)
        return self.totals[currency]


def _channel(cell: str) -> str:
    word = "-".join(cell.casefold().split())
    if word not in CHANNELS:
        raise cells.BadCell(
            _("“{value}” is not a channel: web, store, app or phone.").format(value=cell[:60])
        )
    return CHANNELS[word]


class OrderImporter:
    """How order files are imported."""

    kind: str = ImportJob.Kind.ORDERS
    fields: Sequence[Field] = ORDER_FIELDS
    tables: Sequence[str] = ("orders_order", "customers_event", "customers_customer")

    def row_reader(
        self, columns: Sequence[str], mapping: dict[str, str], options: dict[str, Any]
    ) -> Callable[[Row], OrderRow]:
        return OrderReader(columns, mapping, options).read

    def apply(self, rows: Sequence[OrderRow], setup: Setup, *, for_good: bool) -> Outcome:
        return apply_orders(rows, setup, for_good=for_good)

    def ring(self, job_id: int) -> None:
        """Tell the workers, once this transaction is committed; a lost ring is repeated by beat."""
        from orders.tasks import run_import  # Tasks call this module.

        transaction.on_commit(partial(run_import.delay, job_id), robust=True)


ORDERS = OrderImporter()

Values = tuple[int, datetime, int, str, int, str, int | None]
_COLUMNS = ("customer_id", "placed_at", "total_minor", "currency", "quantity", "channel", "store_id")
_STAGED = (
    "number text, customer_id bigint, placed_at timestamptz, total_minor bigint, currency text,"
    " quantity integer, channel text, store_id bigint"
)


def apply_orders(rows: Sequence[OrderRow], setup: Setup, *, for_good: bool) -> Outcome:
    """Create and update orders from these rows, within the caller's transaction.

    Without `for_good` nothing is written or locked and the outcome is what would be.
    """
    owners = find_owners({key for row in rows for key in row.keys})
    before = _known_orders([row.number for row in rows], setup.source, lock=for_good)
    after: dict[str, Values] = {}
    outcome = Outcome()
    counted: list[tuple[str, str]] = []  # Number and what its row did.
    for row in rows:
        known = after.get(row.number) or before.get(row.number)
        found = {owners[key]: key for key in row.keys if key in owners}
        refusal = _refusal(row, found, known)
        if refusal:
            outcome.rejections.append((row.line, refusal))
            continue
        values = _merged(row, next(iter(found)), known)
        counted.append(
            (row.number, "created" if known is None else "unchanged" if known == values else "updated")
        )
        after[row.number] = values
    changed = {number: values for number, values in after.items() if before.get(number) != values}
    for number, done in counted:
        done = done if number in changed else "unchanged"
        setattr(outcome, done, getattr(outcome, done) + 1)
    if for_good:
        _write(changed, before, setup)
    return outcome


def _refusal(row: OrderRow, found: dict[int, tuple[str, str]], known: Values | None) -> str:
    """Why this row cannot become an order of a customer we know."""
    if not found:
        return _("There is no customer with {identifier}.").format(
            identifier=" / ".join(value for _kind, value in row.keys)
        )
    if len(found) > 1:
        named = " / ".join(value for _kind, value in found.values())
        return _("The identifiers belong to different customers: {identifiers}.").format(identifiers=named)
    if known and known[0] not in found:
        return _("Order {number} belongs to another customer.").format(number=row.number)
    return ""


def _merged(row: OrderRow, customer_id: int, known: Values | None) -> Values:
    """The order as this row leaves it: an empty cell never erases."""
    *_said, quantity, channel, store_id = known or (1, Order.Channel.WEB, None)
    return (
        customer_id,
        row.placed_at,
        row.total_minor,
        row.currency,
        quantity if row.quantity is None else row.quantity,
        row.channel or channel,
        row.store_id or store_id,
    )


def _known_orders(numbers: list[str], source: str, *, lock: bool) -> dict[str, Values]:
    """Number to values of the orders this source has already told us; locked in pk order."""
    with connection.cursor() as cursor:
        cursor.execute(_KNOWN + (_LOCK if lock else ""), [source, numbers])  # Uses order_once.
        return {number: tuple(values) for number, *values in cursor.fetchall()}


_KNOWN = f"""
SELECT number, {", ".join(_COLUMNS)} FROM orders_order
WHERE source = %s AND number = ANY(%s) ORDER BY id
"""  # noqa: S608 - the columns are ours
_LOCK = "FOR NO KEY UPDATE"
_INSERT = f"""
INSERT INTO orders_order (source, number, status, {", ".join(_COLUMNS)})
SELECT %s, number, 'completed', {", ".join(_COLUMNS)} FROM import_order
ON CONFLICT (source, number) DO UPDATE SET
    placed_at = EXCLUDED.placed_at, total_minor = EXCLUDED.total_minor, currency = EXCLUDED.currency,
    quantity = EXCLUDED.quantity, channel = EXCLUDED.channel, store_id = EXCLUDED.store_id
"""  # noqa: S608 - the columns are ours
_ADD_EVENTS = """
INSERT INTO customers_event
    (customer_id, name, channel, source, key, occurred_at, store_id, order_ref, properties)
SELECT customer_id, name, channel, %s, key, occurred_at, store_id, order_ref, properties
FROM import_order_event
ON CONFLICT (source, key) DO NOTHING
"""
# Customers are locked in pk order, as every verb does; one chunk is applied at a time.
_SEEN = """
WITH latest AS (
    SELECT customer_id, max(placed_at) AS at FROM import_order GROUP BY customer_id
), locked AS (
    SELECT customer.id, latest.at FROM customers_customer AS customer
    JOIN latest ON latest.customer_id = customer.id
    WHERE customer.last_seen_at IS NULL OR customer.last_seen_at < latest.at
    ORDER BY customer.id FOR NO KEY UPDATE OF customer
)
UPDATE customers_customer AS customer SET last_seen_at = locked.at
FROM locked WHERE customer.id = locked.id
"""


def _write(changed: dict[str, Values], before: dict[str, Values], setup: Setup) -> None:
    """The orders, an event for each, and when their customers were last seen."""
    if not changed:
        return
    stage(
        "import_order",
        _STAGED,
        ("number", *_COLUMNS),
        ((number, *values) for number, values in changed.items()),
    )
    stage(
        "import_order_event",
        "customer_id bigint, name text, channel text, key text, occurred_at timestamptz, store_id bigint,"
        " order_ref text, properties jsonb",
        ("customer_id", "name", "channel", "key", "occurred_at", "store_id", "order_ref", "properties"),
        (_event(number, values, number in before, setup) for number, values in changed.items()),
    )
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [setup.source])
        cursor.execute(_ADD_EVENTS, [f"orders:{setup.source}"])
        cursor.execute(_SEEN)


def _event(number: str, values: Values, is_update: bool, setup: Setup) -> tuple[Any, ...]:
    """Order Completed, keyed by its number; a correction is Order Updated, at the time of the import."""
    customer_id, placed_at, total_minor, currency, quantity, channel, store_id = values
    properties = {"total_minor": total_minor, "currency": currency, "quantity": quantity}
    name, key, at = events.ORDER_COMPLETED, number, placed_at
    if is_update:
        digest = hashlib.sha256(repr(values).encode()).hexdigest()[:12]
        name, key, at = events.ORDER_UPDATED, f"{number}:{digest}", setup.at
    return (customer_id, name, channel, key, at, store_id, number, properties)
