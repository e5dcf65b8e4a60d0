"""`manage.py check`: whether the providers chosen in settings can be used, and what is missing."""

from importlib.util import find_spec
from typing import Any

from anymail.exceptions import AnymailError
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured

from .channels import esp

SMS_PROVIDERS = ("sandbox", "twilio")


@register()
def check_email_provider(**_: Any) -> list[CheckMessage]:
    """Whether EMAIL_PROVIDER is known and has its credentials, and its reports can be told from forged ones."""
    name = settings.EMAIL_PROVIDER
    if name == "smtp":
        return []
    if not _is_known(name):
        known = ", ".join(["smtp", *sorted(esp.webhooks())])
        return [Error(f"EMAIL_PROVIDER={name} is not a provider we know: {known}.", id="campaigns.E001")]
    try:
        esp.backend(name)
    except (AnymailError, ImproperlyConfigured, ImportError) as error:
        return [
            Error(
                f"Mail cannot be sent through {name}: {_one_line(error)}",
                hint="Its settings are read from environment variables called ANYMAIL_…; see docs/providers.md.",
                id="campaigns.E002",
            )
        ]
    return [*_check_email_reports(name), *_check_public_url(name)]


@register()
def check_sms_provider(**_: Any) -> list[CheckMessage]:
    """Whether SMS_PROVIDER is known and has its credentials."""
    name = settings.SMS_PROVIDER
    if name not in SMS_PROVIDERS:
        known = ", ".join(SMS_PROVIDERS)
        return [Error(f"SMS_PROVIDER={name} is not a provider we know: {known}.", id="campaigns.E004")]
    if name == "sandbox":
        return []
    missing = [key for key in ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN") if not getattr(settings, key)]
    if bool(settings.TWILIO_API_KEY) != bool(settings.TWILIO_API_SECRET):
        missing.append("TWILIO_API_SECRET" if settings.TWILIO_API_KEY else "TWILIO_API_KEY")
    if missing:
        return [
            Error(f"Texts cannot be sent through Twilio without {', '.join(missing)}.", id="campaigns.E005")
        ]
    return _check_public_url(name)


def _is_known(name: str) -> bool:
    if not name.isidentifier() or name.startswith(("base", "test", "console")):
        return False
    return find_spec(f"anymail.backends.{name}") is not None


def _check_email_reports(name: str) -> list[CheckMessage]:
    if name not in esp.webhooks() or esp.is_guarded(name):
        return []
    return [
        Error(
            f"Anybody could send us reports in the name of {name}, so none is taken.",
            hint="Set the key it signs with, or ANYMAIL_WEBHOOK_SECRET=user:password; see docs/providers.md.",
            id="campaigns.E003",
        )
    ]


def _check_public_url(name: str) -> list[CheckMessage]:
    if any(host in settings.PUBLIC_URL for host in ("//localhost", "//127.0.0.1")):
        return [
            Warning(
                f"{name} cannot report to PUBLIC_URL={settings.PUBLIC_URL}: it leads to this machine only.",
                id="campaigns.W001",
            )
        ]
    return []


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
