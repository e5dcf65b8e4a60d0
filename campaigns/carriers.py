"""Who carries each channel's messages, and how they are doing."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models import Count, Sum
from django.utils.functional import Promise
from django.utils.timezone import localdate, now
from django.utils.translation import gettext_lazy as _

from customers.models import Channel

from .channels import CHANNELS, esp
from .models import Breaker, CampaignDay, Message, ProviderReport
from .provider_checks import check_email_provider, check_sms_provider
from .rendering import public_url

_LABELS: dict[str, str | Promise] = {
    "smtp": "SMTP",
    "backend": _("A mail backend of Django"),
    "sandbox": _("Sandbox"),
    "twilio": "Twilio",
}


@dataclass(frozen=True)
class Carrier:
    """The provider of one channel as its page shows it."""

    channel: str
    provider: str
    breaker: Breaker | None
    problems: list[str]  # What settings lack.
    sent_today: int
    in_doubt: int  # Nobody knows whether they were taken.
    last_report: datetime | None
    reports_url: str  # Where its webhook belongs; empty when there is nothing to set up.

    @property
    def channel_label(self) -> str | Promise:
        return Channel(self.channel).label

    @property
    def label(self) -> str | Promise:
        return label_of(self.provider)

    @property
    def is_resting(self) -> bool:
        return bool(self.breaker and self.breaker.open_until and self.breaker.open_until > now())

    @property
    def is_failing(self) -> bool:
        return bool(self.breaker and self.breaker.failures)


def label_of(provider: str) -> str | Promise:
    """What a provider is called."""
    if provider in _LABELS:
        return _LABELS[provider]
    known = esp.webhooks().get(provider)
    return known.esp_name if known else provider


def carriers() -> list[Carrier]:
    """The carrier of every channel, now. Five queries."""
    names = {channel: spec.provider().name for channel, spec in CHANNELS.items()}
    breakers = Breaker.objects.in_bulk(names.values())
    days = CampaignDay.objects.filter(day=localdate()).values_list("channel")
    sent = dict(days.annotate(Sum("sent")))
    unknown = Message.objects.filter(status=Message.Status.UNKNOWN).values_list("channel")
    in_doubt = dict(unknown.annotate(Count("pk")))
    problems = {Channel.EMAIL: check_email_provider(), Channel.SMS: check_sms_provider()}
    return [
        Carrier(
            channel=channel,
            provider=name,
            breaker=breakers.get(name),
            problems=[str(problem.msg) for problem in problems.get(Channel(channel), [])],
            sent_today=sent.get(channel, 0),
            in_doubt=in_doubt.get(channel, 0),
            last_report=_last_report(name),
            reports_url=_reports_url(name),
        )
        for channel, name in names.items()
    ]


def _last_report(provider: str) -> datetime | None:
    """Uses report_received."""
    received = ProviderReport.objects.filter(provider=provider).order_by("-received_at")
    return received.values_list("received_at", flat=True).first()


def _reports_url(provider: str) -> str:
    is_listened_to = provider in esp.webhooks() and provider in settings.EMAIL_REPORTS_FROM
    return public_url("campaigns:email_reports", provider) if is_listened_to else ""
