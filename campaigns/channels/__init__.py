"""The channels we can send on, one file each."""

from customers.models import Channel

from . import email, sms
from .base import ChannelSpec

CHANNELS: dict[str, ChannelSpec] = {
    Channel.EMAIL: email.SPEC,
    Channel.SMS: sms.SPEC,
}

__all__ = ["CHANNELS"]
