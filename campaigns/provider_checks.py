"""`manage.py check`: whether the providers chosen in settings can be used, and what is missing."""

from importlib.util import find_spec
from typing import Any

from anymail.exceptions import AnymailError
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _

from .channels import esp

SMS_PROVIDERS = ("sandbox", "twilio")


@register()
def check_email_provider(**options: Any) -> list[CheckMessage]:
    """Whether EMAIL_PROVIDER is known and has its credentials, and its reports can be told from forgeries."""
    name = settings.EMAIL_PROVIDER
    if name == "smtp":
        return []
    if not _is_known(name):
        known = ", ".join(["smtp", *sorted(esp.webhooks())])
        text = _("EMAIL_PROVIDER={name} is not a provider we know: {known}.")
        return [Error(text.format(name=name, known=known), id="campaigns.E001")]
    try:
        esp.backend(name)
    except (AnymailError, ImproperlyConfigured, ImportError) as error:
        text = _("Mail cannot be sent through {name}: {reason}")
        hint = _("Its settings are environment variables called ANYMAIL_…; see docs/providers.md.")
        return [Error(text.format(name=name, reason=_one_line(error)), hint=hint, id="campaigns.E002")]
    return [*_check_email_reports(name), *_check_public_url(name)]


@register()
def check_sms_provider(**options: Any) -> list[CheckMessage]:
    """Whether SMS_PROVIDER is known and has its credentials."""
    name = settings.SMS_PROVIDER
    if name not in SMS_PROVIDERS:
        known = ", ".join(SMS_PROVIDERS)
        text = _("SMS_PROVIDER={name} is not a provider we know: {known}.")
        return [Error(text.format(name=name, known=known), id="campaigns.E004")]
    if name == "sandbox":
        return []
    missing = [key for key in ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN") if not getattr(settings, key)]
    if bool(settings.TWILIO_API_KEY) != bool(settings.TWILIO_API_SECRET):
        missing.append("TWILIO_API_SECRET" if settings.TWILIO_API_KEY else "TWILIO_API_KEY")
    if missing:
        text = _("Texts cannot be sent through Twilio without {names}.")
        return [Error(text.format(names=", ".join(missing)), id="campaigns.E005")]
    return _check_public_url(name)


def _is_known(name: str) -> bool:
    if not name.isidentifier() or name.startswith(("base", "test", "console")):
        return False
    return find_spec(f"anymail.backends.{name}") is not None


def _check_email_reports(name: str) -> list[CheckMessage]:
    if name not in esp.webhooks() or esp.is_guarded(name):
        return []
    text = _("Anybody could send us reports in the name of {name}, so none is taken.")
    hint = _("Set the key it signs with, or ANYMAIL_WEBHOOK_SECRET=user:password; see docs/providers.md.")
    return [Error(text.format(name=name), hint=hint, id="campaigns.E003")]


def _check_public_url(name: str) -> list[CheckMessage]:
    if any(host in settings.PUBLIC_URL for host in ("//localhost", "//127.0.0.1")):
        text = _("{name} cannot report to PUBLIC_URL={url}: it leads to this machine only.")
        return [Warning(text.format(name=name, url=settings.PUBLIC_URL), id="campaigns.W001")]
    return []


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
