"""How events read on a timeline: an icon, a title, a line below. Unknown names are shown plainly."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, time
from itertools import groupby
from typing import Any

from django.utils.functional import Promise
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext_lazy

from core.templatetags.ui import money

from . import events
from .models import Channel, ConsentState, Event, Purpose

Properties = dict[str, Any]
CHANNELS: dict[str, str | Promise] = {
    "web": gettext_lazy("Online"),
    "store": gettext_lazy("Store"),
    "app": gettext_lazy("App"),
    "phone": gettext_lazy("Phone"),
    "email": gettext_lazy("Email"),
    "sms": gettext_lazy("SMS"),
}
ICONS = {
    events.ORDER_COMPLETED: "shopping-bag",
    events.ORDER_UPDATED: "receipt",
    events.PRODUCT_VIEWED: "eye",
    events.CART_UPDATED: "shopping-cart",
    events.STORE_VISITED: "building-store",
    events.SUPPORT_CALLED: "phone",
    events.CONTENT_ENGAGED: "file-text",
    events.CUSTOMER_IMPORTED: "file-import",
    events.CONSENT_CHANGED: "shield-check",
    events.MESSAGE_SENT: "send",
    events.MESSAGE_DELIVERED: "mail-check",
    events.MESSAGE_BOUNCED: "mail-x",
    events.MESSAGE_OPENED: "mail-opened",
    events.MESSAGE_CLICKED: "click",
    events.MESSAGE_COMPLAINED: "thumb-down",
    events.MESSAGE_UNSUBSCRIBED: "mail-off",
}


@dataclass(frozen=True)
class Line:
    """One event as the timeline shows it."""

    at: datetime
    icon: str
    channel: str
    title: str
    subtitle: str

    @property
    def has_time(self) -> bool:
        """Whether we were told more than the day: files without times mean local midnight."""
        return self.at.time() != time()


@dataclass(frozen=True)
class Day:
    """The lines of one day, latest first."""

    day: date
    lines: list[Line]


def days(rows: Iterable[Event]) -> list[Day]:
    """Events, latest first, as the days the reader's clock puts them in."""
    lines = [line_of(event) for event in rows]
    return [Day(day, list(group)) for day, group in groupby(lines, key=lambda line: line.at.date())]


def line_of(event: Event) -> Line:
    """How one event reads. Properties come from outside: whatever is missing is left out."""
    properties = event.properties if isinstance(event.properties, dict) else {}
    describe = _WORDS.get(event.name, _unknown)
    title, subtitle = describe(event, properties)
    icon = ICONS.get(event.name, "activity")
    return Line(localtime(event.occurred_at), icon, event.channel, title, subtitle)


def channel_name(channel: str) -> str:
    return str(CHANNELS.get(channel, channel))


def _joined(*parts: object) -> str:
    return " · ".join(str(part) for part in parts if part)


def _amount(properties: Properties) -> str:
    minor, currency = properties.get("total_minor"), properties.get("currency")
    is_money = isinstance(minor, int) and isinstance(currency, str) and len(currency) == 3
    return money(minor, currency) if is_money else ""  # type: ignore[arg-type]


def _place(event: Event) -> str:
    return event.store.name if event.store else channel_name(event.channel)


def _order(event: Event, properties: Properties) -> tuple[str, str]:
    amount, quantity = _amount(properties), properties.get("quantity")
    number = event.order_ref
    title = _("Bought for {amount}").format(amount=amount) if amount else _("Placed an order")
    pieces = ""
    if isinstance(quantity, int):
        pieces = ngettext("{count} piece", "{count} pieces", quantity).format(count=quantity)
    return title, _joined(_("Order {number}").format(number=number) if number else "", pieces, _place(event))


def _order_updated(event: Event, properties: Properties) -> tuple[str, str]:
    title = _("Order {number} was corrected").format(number=event.order_ref)
    return title, _joined(_amount(properties), _place(event))


def _viewed(event: Event, properties: Properties) -> tuple[str, str]:
    product = properties.get("name") or properties.get("product")
    title = _("Looked at {product}").format(product=product) if product else _("Looked at a product")
    return title, _joined(properties.get("category"), _place(event))


def _cart(event: Event, properties: Properties) -> tuple[str, str]:
    return _("Changed the cart"), _joined(_amount(properties), _place(event))


def _visited(event: Event, properties: Properties) -> tuple[str, str]:
    store = event.store.name if event.store else ""
    return (_("Visited {store}").format(store=store) if store else _("Visited a store")), ""


def _called(event: Event, properties: Properties) -> tuple[str, str]:
    return _("Called support"), _joined(properties.get("topic") or properties.get("reason"))


def _engaged(event: Event, properties: Properties) -> tuple[str, str]:
    title = properties.get("title") or properties.get("name")
    return (_("Read “{title}”").format(title=title) if title else _("Read something")), _place(event)


def _imported(event: Event, properties: Properties) -> tuple[str, str]:
    file, line = properties.get("file"), properties.get("line")
    where = _("{file}, line {line}").format(file=file, line=line) if file and line else file
    return _("Came with an import"), _joined(where)


_STATES = {
    ConsentState.GRANTED: pgettext_lazy("consent", "agreed"),
    ConsentState.DENIED: pgettext_lazy("consent", "declined"),
    ConsentState.REVOKED: pgettext_lazy("consent", "withdrew"),
}


def _consent(event: Event, properties: Properties) -> tuple[str, str]:
    state, purpose = str(properties.get("state")), str(properties.get("purpose"))
    said = _STATES.get(state, state)  # type: ignore[call-overload]
    about = Purpose(purpose).label if purpose in Purpose.values else purpose
    if event.channel in Channel.values:
        title = _("Consent to {channel} marketing: {said}").format(
            channel=Channel(event.channel).label, said=said
        )
    else:
        title = _("Consent to {purpose}: {said}").format(purpose=about, said=said)
    return title, _joined(properties.get("source"))


def _message(sentence: str | Promise, plain: str | Promise) -> Callable[..., tuple[str, str]]:
    """Words for a message event: with the subject where it is known."""

    def describe(event: Event, properties: Properties) -> tuple[str, str]:
        subject = properties.get("subject")
        title = str(sentence).format(subject=subject) if subject else str(plain)
        detail = properties.get("url") or properties.get("reason")
        return title, _joined(properties.get("campaign_name"), channel_name(event.channel), detail)

    return describe


def _unknown(event: Event, properties: Properties) -> tuple[str, str]:
    return event.name, _joined(channel_name(event.channel), event.source)


_WORDS: dict[str, Callable[[Event, Properties], tuple[str, str]]] = {
    events.ORDER_COMPLETED: _order,
    events.ORDER_UPDATED: _order_updated,
    events.PRODUCT_VIEWED: _viewed,
    events.CART_UPDATED: _cart,
    events.STORE_VISITED: _visited,
    events.SUPPORT_CALLED: _called,
    events.CONTENT_ENGAGED: _engaged,
    events.CUSTOMER_IMPORTED: _imported,
    events.CONSENT_CHANGED: _consent,
    events.MESSAGE_SENT: _message(gettext_lazy("Was sent “{subject}”"), gettext_lazy("Was sent a message")),
    events.MESSAGE_DELIVERED: _message(
        gettext_lazy("Received “{subject}”"), gettext_lazy("Received a message")
    ),
    events.MESSAGE_BOUNCED: _message(
        gettext_lazy("“{subject}” could not be delivered"), gettext_lazy("A message could not be delivered")
    ),
    events.MESSAGE_OPENED: _message(gettext_lazy("Opened “{subject}”"), gettext_lazy("Opened a message")),
    events.MESSAGE_COMPLAINED: _message(
        gettext_lazy("Complained about “{subject}”"), gettext_lazy("Complained about a message")
    ),
    events.MESSAGE_CLICKED: _message(
        gettext_lazy("Clicked in “{subject}”"), gettext_lazy("Clicked in a message")
    ),
    events.MESSAGE_UNSUBSCRIBED: _message(
        gettext_lazy("Unsubscribed from “{subject}”"), gettext_lazy("Unsubscribed")
    ),
}
