from datetime import datetime
from itertools import count
from typing import Any

from django.utils.timezone import now

from customers import services
from customers.models import Channel, Customer, Event, Identifier, Purpose

_numbers = count(1)


def make_customer(
    *,
    email: str | None = None,
    phone: str | None = None,
    consents: tuple[str, ...] = (),
    **fields: Any,
) -> Customer:
    """A known customer; `consents` names the channels they granted marketing for."""
    customer = Customer.objects.create(**fields)
    for kind, value in ((Identifier.Kind.EMAIL, email), (Identifier.Kind.PHONE, phone)):
        if value:
            Identifier.objects.create(customer=customer, kind=kind, value=value)
    for channel in consents:
        services.record_consent(
            customer.pk, channel=Channel(channel), state="granted", source="test form", evidence="test"
        )
    return customer


def agrees_to_open_tracking(customer: Customer, *, state: str = "granted") -> None:
    """They allow, or with another state forbid, that we see which mails they open."""
    services.record_consent(
        customer.pk,
        channel="",
        purpose=Purpose.OPEN_TRACKING,
        state=state,
        source="test form",
        evidence="test",
    )


def make_event(
    customer: Customer,
    name: str,
    *,
    at: datetime | None = None,
    channel: str = "web",
    properties: dict[str, Any] | None = None,
) -> Event:
    """Something that happened to the customer, now unless said otherwise."""
    return Event.objects.create(
        customer=customer,
        name=name,
        channel=channel,
        source="test",
        key=str(next(_numbers)),
        occurred_at=at or now(),
        properties=properties or {},
    )
