from dataclasses import dataclass

from django import template
from django.utils.translation import gettext as _

from core.templatetags.ui import channel_icon, country_name
from customers import contact
from customers.models import Channel, ConsentState, Customer, Identifier, Purpose

register = template.Library()


@dataclass(frozen=True)
class Mark:
    """Whether a channel's marketing was agreed to, for a small icon."""

    channel: str
    is_granted: bool
    label: str

    @property
    def icon(self) -> str:
        """Crossed out when not agreed: colour alone says nothing."""
        return channel_icon(self.channel) if self.is_granted else f"{channel_icon(self.channel)}-off"


@dataclass(frozen=True)
class Contact:
    """How to name and reach a customer, from what is already loaded."""

    name: str
    about: str
    email: str
    phone: str
    marks: list[Mark]


@register.simple_tag
def contact_of(customer: Customer) -> Contact:
    """No query when identifiers and consents were prefetched."""
    identifiers = list(customer.identifiers.all())
    email, phone, number = (
        contact.best(identifiers, kind)
        for kind in (Identifier.Kind.EMAIL, Identifier.Kind.PHONE, Identifier.Kind.USER_ID)
    )
    granted = {
        consent.channel
        for consent in customer.consents.all()
        if consent.purpose == Purpose.MARKETING and consent.state == ConsentState.GRANTED
    }
    marks = [_mark(channel, channel in granted) for channel in Channel]
    name = contact.name_of(customer, identifiers)
    country = country_name(customer.country) if customer.country else ""
    about = " · ".join(part for part in (number, customer.city, country) if part and part != name)
    return Contact(name, about, email, phone, marks)


def _mark(channel: Channel, is_granted: bool) -> Mark:
    label = _("{channel}: agreed") if is_granted else _("{channel}: not agreed")
    return Mark(channel, is_granted, label.format(channel=channel.label))


@register.filter
def display_name(customer: Customer) -> str:
    """The name, or what else the customer is known by: without a name, prefetch the identifiers."""
    return customer.full_name or contact.name_of(customer, customer.identifiers.all())
