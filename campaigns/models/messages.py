"""The outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from customers.models import Channel, Customer

from .campaigns import Campaign, Content

if TYPE_CHECKING:
    from core.models import User


class MessageQuerySet(models.QuerySet["Message"]):
    def visible_to(self, user: User) -> MessageQuerySet:
        """Messages of the customers this person sees."""
        if user.is_store_bound:
            return self.filter(customer__in=Customer.objects.visible_to(user))
        return self


class Message(models.Model):
    """The outbox: one row per person, channel, step and occurrence, written before anything is sent.

    planned → leased → sending → sent → delivered | bounced | failed; a gate drops it to suppressed with a
    reason; unknown is a message whose fate the provider has not told us.
    """

    class Status(models.TextChoices):
        PLANNED = "planned", pgettext_lazy("message", "Waiting")
        LEASED = "leased", pgettext_lazy("message", "Waiting")
        SENDING = "sending", pgettext_lazy("message", "Sending")
        SENT = "sent", pgettext_lazy("message", "Sent")
        DELIVERED = "delivered", pgettext_lazy("message", "Delivered")
        BOUNCED = "bounced", pgettext_lazy("message", "Bounced")
        FAILED = "failed", pgettext_lazy("message", "Failed")
        SUPPRESSED = "suppressed", pgettext_lazy("message", "Held back")
        UNKNOWN = "unknown", pgettext_lazy("message", "Unknown")

    class Reason(models.TextChoices):
        """Why a message was held back, in the order of the gates; then why one failed or waits."""

        EXPIRED = "expired", _("It would have come too late")
        NO_CONSENT = "no_consent", _("No consent for this channel")
        REVOKED = "revoked", _("Consent was withdrawn")
        SUPPRESSED = "suppressed", _("The address is blocked")
        NO_ADDRESS = "no_address", _("No address for this channel")
        SAME_ADDRESS = "same_address", _("Somebody else at this address gets it")
        HOLDOUT = "holdout", _("Chosen at random to get nothing, for comparison")
        PRESSURE = "pressure", _("Has had enough messages for now")
        CANCELLED = "cancelled", _("The campaign was cancelled")
        QUIET_HOURS = "quiet_hours", _("Waits for the end of quiet hours")
        REFUSED = "refused", _("The receiver's server refused it")
        BAD_ADDRESS = "bad_address", _("The address does not exist")
        MAILBOX_FULL = "mailbox_full", _("The mailbox could not take it")
        SPAM = "spam", _("The receiver's server took it for spam")
        TRY_LATER = "try_later", _("The receiver's server asks to try later")
        PROVIDER_ERROR = "provider_error", _("The provider answered with an error")
        RENDERING = "rendering", _("The text could not be written for this person")
        NO_ANSWER = "no_answer", _("The provider's answer never arrived")
        POISON = "poison", _("It stopped the program that was sending it, three times")
        PARKED = "parked", _("Set aside by an operator")

    campaign = models.ForeignKey(Campaign, models.PROTECT, related_name="messages", db_index=False)
    customer = models.ForeignKey(Customer, models.PROTECT, related_name="messages", db_index=False)
    channel = models.CharField(max_length=20, choices=Channel.choices)
    step = models.PositiveSmallIntegerField(default=0, db_default=0)
    occurrence = models.PositiveIntegerField(default=0, db_default=0)
    content = models.ForeignKey(Content, models.PROTECT, null=True, related_name="+", db_index=False)
    address = models.CharField(max_length=254, blank=True)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PLANNED)
    reason = models.CharField(max_length=20, choices=Reason.choices, blank=True, db_default="")
    detail = models.CharField(
        max_length=300, blank=True, db_default="", help_text="The provider's own words."
    )
    due_at = models.DateTimeField()
    scheduled_for = models.DateTimeField(
        null=True, help_text="The due_at it was planned with: from then on its outcome counts."
    )
    expires_at = models.DateTimeField(null=True, help_text="Not sent after this, whatever the delay.")
    owner = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    called_at = models.DateTimeField(
        null=True, help_text="When its lease had ended while it was sent, and its worker got a last call."
    )
    attempts = models.PositiveSmallIntegerField(default=0, db_default=0)
    crashes = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="Workers that died while sending it; it then travels alone."
    )
    provider = models.CharField(max_length=30, blank=True, db_default="", help_text="Who carried it.")
    provider_ref = models.CharField(max_length=100, blank=True, db_default="")
    parts = models.PositiveSmallIntegerField(null=True, help_text="Text messages it was cut into.")
    cost_micros = models.BigIntegerField(
        null=True, help_text="What it cost, in millionths of a unit of the currency."
    )
    currency = models.CharField(max_length=3, blank=True, db_default="")
    planned_at = models.DateTimeField(default=now, db_default=Now())
    sending_at = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    settled_at = models.DateTimeField(null=True, help_text="When its last state was reached.")

    objects: ClassVar[MessageQuerySet] = MessageQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["campaign", "customer", "channel", "step", "occurrence"], name="message_once"
            ),
            # Two people behind one address get one message.
            models.UniqueConstraint(
                fields=["campaign", "channel", "address", "step", "occurrence"],
                condition=~Q(status="suppressed"),
                name="message_once_per_address",
            ),
            models.CheckConstraint(
                condition=~Q(status="suppressed") | ~Q(reason=""), name="message_suppressed_has_reason"
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["leased", "sending"])
                | Q(owner__isnull=False, lease_until__isnull=False),
                name="message_lease_complete",
            ),
        ]
        indexes = [
            # What a dispatcher claims: of each running campaign, so that a paused one is not read through.
            models.Index(
                fields=["campaign", "channel", "due_at", "id"],
                name="message_waiting",
                condition=Q(status="planned"),
            ),
            # Leases that ran out.
            models.Index(
                fields=["lease_until"], name="message_leases", condition=Q(status__in=["leased", "sending"])
            ),
            # The customer's page.
            models.Index(fields=["customer", "-planned_at"], name="message_of_customer"),
            # Provider reports.
            models.Index(fields=["provider_ref"], name="message_by_ref", condition=~Q(provider_ref="")),
            # What went wrong, for those who mend it: few rows of any campaign.
            models.Index(
                fields=["campaign", "channel", "status", "reason"],
                name="message_troubled",
                condition=Q(status__in=["failed", "unknown"]),
            ),
            # What everybody was sent lately, for the limits on what one person may get.
            BrinIndex(fields=["planned_at"], name="message_planned", autosummarize=True),
            # Whose price is still to be asked for.
            models.Index(
                fields=["sent_at"],
                name="message_unpriced",
                condition=Q(provider="twilio", cost_micros=None, sent_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.pk}: {self.status}"


class Logbook(models.Model):
    """How far a worker got since its last fence: what it knew, should it be killed.

    What it fenced goes in the order of the ids, so two of them tell: up to `settled` all was sent but what
    `unsent` names, and what comes after `begun` was not begun. The table is unlogged: a worker that lives
    through a crash of PostgreSQL knows it all itself.
    """

    owner = models.UUIDField(primary_key=True)
    provider = models.CharField(max_length=30)
    settled = models.BigIntegerField(
        default=0, db_default=0, help_text="The last message it had an answer to."
    )
    begun = models.BigIntegerField(null=True, help_text="The last message it began; null: any.")
    unsent = ArrayField(
        models.BigIntegerField(),
        default=list,
        db_default=[],
        help_text="Messages it began and cannot say were sent, also of earlier fences.",
    )
    sent = ArrayField(models.BigIntegerField(), help_text="Messages the provider gave a reference to.")
    refs = ArrayField(models.CharField(max_length=100), help_text="Those references.")

    def __str__(self) -> str:
        return f"{self.owner}: {self.settled}, {self.begun}"
