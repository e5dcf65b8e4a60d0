"""What may be done to what we know of a customer."""

from datetime import datetime
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils.timezone import now

from . import events
from .addresses import address_hash
from .models import ConsentEvent, ConsentState, Customer, Event, Purpose, Suppression

if TYPE_CHECKING:
    from core.models import User


@transaction.atomic
def record_consent(
    customer_id: int,
    *,
    channel: str,
    state: str,
    source: str,
    purpose: str = Purpose.MARKETING,
    wording: str = "",
    evidence: str = "",
    at: datetime | None = None,
    by: "User | None" = None,
) -> ConsentEvent:
    """Add what a person said about being contacted; `Consent` follows by trigger.

    `at` is when they said it (now when missing): an older statement never overrides a newer one.
    """
    Customer.objects.select_for_update().get(pk=customer_id)  # One statement at a time per person.
    statement = ConsentEvent.objects.create(
        customer_id=customer_id,
        channel=channel,
        purpose=purpose,
        state=ConsentState(state),
        source=source,
        wording=wording,
        evidence=evidence,
        effective_at=at or now(),
        actor=by,
    )
    Event.objects.create(
        customer_id=customer_id,
        name=events.CONSENT_CHANGED,
        channel=channel,
        source="consent",
        key=str(statement.pk),
        occurred_at=statement.effective_at,
        properties={"state": state, "purpose": purpose, "source": source},
    )
    return statement


def suppress_address(*, channel: str, address: str, reason: str) -> Suppression:
    """Send nothing to this address any more; the first reason stands."""
    suppression, _ = Suppression.objects.get_or_create(
        channel=channel,
        address_hash=address_hash(address),
        defaults={"reason": Suppression.Reason(reason)},
    )
    return suppression
