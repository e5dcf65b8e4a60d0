"""The channels we can send on; settings say which provider carries each."""

from typing import Any

from django.conf import settings

from customers.models import Channel

from . import email, esp, sms, twilio
from .base import ChannelSpec


def _mail() -> Any:
    return email if settings.EMAIL_PROVIDER == "smtp" else esp


def _text() -> Any:
    return twilio if settings.SMS_PROVIDER == "twilio" else sms


CHANNELS: dict[str, ChannelSpec] = {
    Channel.EMAIL: ChannelSpec(
        "email", "mail", lambda: _mail().provider(), lambda *test: _mail().send_test(*test)
    ),
    Channel.SMS: ChannelSpec(
        "sms", "message", lambda: _text().provider(), lambda *test: _text().send_test(*test)
    ),
}

__all__ = ["CHANNELS"]
