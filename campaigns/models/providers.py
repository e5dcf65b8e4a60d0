"""Those who carry our messages: how fast they may be used, whether they work, what they took."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.timezone import now


class Breaker(models.Model):
    """Whether a provider is used: after too many failures in a row it rests, then one batch tries again."""

    provider = models.CharField(max_length=30, primary_key=True)
    failures = models.PositiveIntegerField(db_default=0, help_text="In a row, until one success.")
    trips = models.PositiveSmallIntegerField(db_default=0, help_text="Rests in a row; each is longer.")
    open_until = models.DateTimeField(null=True, help_text="Nothing is handed to it before this.")
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
