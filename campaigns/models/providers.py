"""Those who carry our messages: how fast they may be used, whether they work, what they took."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from customers.models import Channel


class Breaker(models.Model):
    """Whether a provider is used: after too many failures in a row it rests, then one message tries."""

    provider = models.CharField(max_length=30, primary_key=True)
    failures = models.PositiveIntegerField(db_default=0, help_text="In a row, until one success.")
    trips = models.PositiveSmallIntegerField(db_default=0, help_text="Rests in a row; each is longer.")
    open_until = models.DateTimeField(null=True, help_text="Nothing is handed to it before this.")
    is_probing = models.BooleanField(db_default=False, help_text="One message is trying whether it is back.")
    detail = models.CharField(max_length=300, blank=True, db_default="", help_text="Its last words.")

    def __str__(self) -> str:
        return self.provider


class Pace(models.Model):
    """A bucket of permissions to send, filling at a steady rate: a provider's, a receiving domain's."""

    key = models.CharField(max_length=100, primary_key=True, help_text="'provider:smtp', 'domain:gmail.com'")
    tokens = models.FloatField(help_text="Permissions left at filled_at; never more than one second's.")
    filled_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.key


class ProviderReport(models.Model):
    """What a provider told us about one message: the inbox of every webhook, each event once.

    A report is stored as it arrives and answered at once; `campaigns.inbox` makes it count later. It ends
    processed, or dead with its reason. What it says of the person is emptied once it has counted.
    """

    class Kind(models.TextChoices):
        SENT = "sent", pgettext_lazy("report", "Sent")
        DEFERRED = "deferred", pgettext_lazy("report", "Delayed")
        DELIVERED = "delivered", pgettext_lazy("report", "Delivered")
        BOUNCED = "bounced", pgettext_lazy("report", "Bounced for good")
        SOFT_BOUNCED = "soft_bounced", pgettext_lazy("report", "Bounced this time")
        FAILED = "failed", pgettext_lazy("report", "Failed")
        OPENED = "opened", pgettext_lazy("report", "Opened")
        CLICKED = "clicked", pgettext_lazy("report", "Clicked")
        COMPLAINED = "complained", pgettext_lazy("report", "Complained")
        UNSUBSCRIBED = "unsubscribed", pgettext_lazy("report", "Unsubscribed")
        PRICED = "priced", pgettext_lazy("report", "Priced")
        UNREADABLE = "unreadable", pgettext_lazy("report", "Not understood")

    class Problem(models.TextChoices):
        """Why a report did not count."""

        UNKNOWN_MESSAGE = "unknown_message", _("It is about a message that did not leave from here")
        UNREADABLE = "unreadable", _("It could not be understood")
        ERROR = "error", _("Something broke while it was counted")

    provider = models.CharField(max_length=30)
    event_id = models.CharField(
        max_length=100, help_text="The provider's own, or a digest of what identifies the event."
    )
    kind = models.CharField(max_length=20, choices=Kind.choices)
    channel = models.CharField(max_length=20, choices=Channel.choices)
    message = models.BigIntegerField(null=True, help_text="Ours, when the report names it.")
    ref = models.CharField(max_length=100, blank=True, help_text="The provider's id of the message.")
    address = models.CharField(max_length=254, blank=True)
    occurred_at = models.DateTimeField()
    reason = models.CharField(max_length=20, blank=True, help_text="A Message.Reason.")
    detail = models.CharField(max_length=300, blank=True, help_text="The provider's own words.")
    parts = models.PositiveSmallIntegerField(null=True)
    cost_micros = models.BigIntegerField(null=True, help_text="Millionths of a unit of the currency.")
    currency = models.CharField(max_length=3, blank=True)
    properties = models.JSONField(default=dict, help_text="Of the customer's event: url, machine.")
    payload = models.JSONField(default=dict, help_text="As received, cut to size; emptied once counted.")
    payload_hash = models.CharField(max_length=64, help_text="SHA-256 of what was received, in hex.")
    received_at = models.DateTimeField(db_default=Now())
    due_at = models.DateTimeField(db_default=Now(), help_text="When it is tried next.")
    attempts = models.PositiveSmallIntegerField(db_default=0)
    processed_at = models.DateTimeField(null=True)
    dead_at = models.DateTimeField(null=True, help_text="Given up; a person may try it again.")
    problem = models.CharField(max_length=20, choices=Problem.choices, blank=True, db_default="")
    error = models.CharField(max_length=300, blank=True, db_default="", help_text="For whoever mends it.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["provider", "event_id"], name="report_once"),
            models.CheckConstraint(
                condition=Q(dead_at=None) | ~Q(problem="") & ~Q(payload_hash=""),
                name="report_dead_has_reason",
            ),
            models.CheckConstraint(
                condition=Q(dead_at=None) | Q(processed_at=None), name="report_has_one_end"
            ),
        ]
        indexes = [
            # What waits to be counted.
            models.Index(
                fields=["due_at", "id"],
                name="report_due",
                condition=Q(processed_at=None, dead_at=None),
            ),
            # What was given up, for the page of providers.
            models.Index(fields=["-dead_at"], name="report_dead", condition=Q(dead_at__isnull=False)),
            # The last word of each provider, and what is old enough to be dropped.
            models.Index(fields=["provider", "-received_at"], name="report_received"),
        ]

    def __str__(self) -> str:
        return f"{self.provider}: {self.kind}"


class SandboxText(models.Model):
    """A text message the sandbox provider took, and the report it will give about it."""

    ref = models.UUIDField(default=uuid.uuid4, unique=True)
    sender = models.CharField(max_length=20)
    to = models.CharField(max_length=20)
    body = models.TextField()
    parts = models.PositiveSmallIntegerField()
    message = models.BigIntegerField(unique=True, help_text="Our message id: the provider's idempotency key.")
    accepted_at = models.DateTimeField(default=now)
    report = models.CharField(max_length=10, help_text="delivered or bounced")
    report_at = models.DateTimeField()
    reported_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["report_at"], name="sandbox_reports", condition=Q(reported_at=None))]

    def __str__(self) -> str:
        return str(self.ref)
