"""What may be done to what we know of a customer."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils.timezone import now
from django.utils.translation import gettext as _

from core.errors import DomainError

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


@transaction.atomic
def take_back_statement(statement_id: int, *, by: "User") -> ConsentEvent:
    """Undo a slip: say again what held before a statement, within an hour and by whoever recorded it.

    The log keeps both. Raises DomainError when something newer was said or it is not theirs to undo.
    """
    statement = ConsentEvent.objects.get(pk=statement_id)
    Customer.objects.select_for_update().get(pk=statement.customer_id)
    about = {
        "customer": statement.customer_id,
        "channel": statement.channel,
        "purpose": statement.purpose,
    }
    latest, *earlier = ConsentEvent.objects.filter(**about).order_by("-effective_at", "-id")[:2]
    is_fresh = statement.recorded_at > now() - timedelta(hours=1)
    if latest != statement or statement.actor_id != by.pk or not is_fresh:
        raise DomainError(_("This can no longer be undone: something newer was recorded."))
    before = earlier[0] if earlier else None
    return record_consent(
        statement.customer_id,
        channel=statement.channel,
        purpose=statement.purpose,
        state=before.state if before else ConsentState.DENIED,
        source=before.source if before else statement.source,
        wording=before.wording if before else "",
        evidence=_("undo of statement {number}").format(number=statement.pk),
        by=by,
    )


def suppress_addresses(rows: Iterable[tuple[str, str, str]]) -> None:
    """Send nothing to these (channel, address, reason) any more; the first reason stands."""
    first: dict[tuple[str, bytes], str] = {}
    for channel, address, reason in rows:
        first.setdefault((channel, address_hash(address)), Suppression.Reason(reason))
    Suppression.objects.bulk_create(
        # In one order, so that two of us never wait for each other.
        [Suppression(channel=key[0], address_hash=key[1], reason=first[key]) for key in sorted(first)],
        ignore_conflicts=True,
    )


def suppress_address(*, channel: str, address: str, reason: str) -> Suppression:
    """Send nothing to this address any more; the first reason stands."""
    suppression, _created = Suppression.objects.get_or_create(
        channel=channel,
        address_hash=address_hash(address),
        defaults={"reason": Suppression.Reason(reason)},
    )
    return suppression
