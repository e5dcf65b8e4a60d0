"""What every tab of a customer's page shows around its panel; other apps' tabs call `customer_context`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.shortcuts import get_object_or_404
from django.utils.functional import Promise

from core.http import StaffRequest

from . import contact
from .addresses import address_hash
from .forms import ConsentForm
from .imports.people import CONSENTS
from .models import Channel, Consent, ConsentEvent, ConsentState, Customer, Identifier, Purpose, Suppression

if TYPE_CHECKING:
    from core.models import User


def consent_key(about: "ConsentRow | ConsentEvent") -> str:
    """What tells a consent from the others within a page."""
    return f"{about.channel or 'all'}-{about.purpose}"


@dataclass(frozen=True)
class ConsentRow:
    """One consent as the card shows it: for a channel with its address, or for a purpose without one."""

    channel: str
    purpose: str
    label: str | Promise
    address: str
    consent: Consent | None
    suppression: Suppression | None

    @property
    def is_granted(self) -> bool:
        return self.consent is not None and self.consent.state == ConsentState.GRANTED

    @property
    def key(self) -> str:
        return consent_key(self)


def visible_customer(user: "User", public_id: UUID) -> Customer:
    """The customer, or 404 for somebody of another shop, merged away or erased."""
    found = Customer.objects.visible_to(user).current().select_related("home_store")
    return get_object_or_404(found, public_id=public_id)


def customer_context(request: StaffRequest, customer: Customer, *, tab: str) -> dict[str, Any]:
    """What `customers/layout.html` needs. `tab`: timeline, orders, messages, segments or history.

    Three queries, whatever the customer.
    """
    identifiers = list(customer.identifiers.order_by("kind", "id"))
    return {
        "customer": customer,
        "customer_name": contact.name_of(customer, identifiers),
        "identifiers": identifiers,
        "tab": tab,
        **consent_context(customer, identifiers),
    }


def consent_context(customer: Customer, identifiers: list[Identifier]) -> dict[str, Any]:
    """What the card of contact and consents needs."""
    known = {
        (consent.channel, consent.purpose): consent
        for consent in Consent.objects.filter(customer=customer).select_related("event")
    }
    addresses = {channel: contact.best(identifiers, kind) for channel, kind in contact.ADDRESS_KIND.items()}
    suppressed = _suppressed({channel: address for channel, address in addresses.items() if address})
    rows = [
        ConsentRow(
            channel,
            purpose,
            Channel(channel).label if channel else Purpose(purpose).label,
            addresses.get(channel, ""),
            known.get((channel, purpose)),
            suppressed.get(channel),
        )
        for channel, purpose in CONSENTS.values()
    ]
    return {"customer": customer, "consent_rows": rows, "consent_sources": ConsentForm.SOURCES}


def _suppressed(addresses: dict[str, str]) -> dict[str, Suppression]:
    """Channel to the suppression of its address, where there is one. One query."""
    hashes = {address_hash(address): channel for channel, address in addresses.items()}
    if not hashes:
        return {}
    found = Suppression.objects.filter(channel__in=addresses, address_hash__in=list(hashes))
    return {s.channel: s for s in found if hashes.get(bytes(s.address_hash)) == s.channel}
