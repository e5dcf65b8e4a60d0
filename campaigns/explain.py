"""What became of one message, as a sentence: for the customer's page and the lists behind the figures."""

from datetime import datetime

from django.utils.formats import date_format
from django.utils.timezone import localtime, now
from django.utils.translation import gettext as _

from .models import Campaign, Message


def explain(message: Message) -> str:
    """Why a message was or was not sent, in plain words; needs its campaign loaded."""
    match message.status:
        case Message.Status.SUPPRESSED:
            return _("Not sent: {reason}.").format(reason=message.get_reason_display())
        case Message.Status.PLANNED | Message.Status.LEASED:
            return _explain_waiting(message)
        case Message.Status.SENDING:
            return _("Being handed to the provider.")
        case Message.Status.SENT:
            return _("Accepted for delivery.")
        case Message.Status.DELIVERED:
            return _("Arrived.")
        case Message.Status.BOUNCED:
            return _with_detail(_("Came back: {reason}."), message)
        case Message.Status.FAILED:
            return _with_detail(_("Could not be sent: {reason}."), message)
    return _("Nobody knows whether it arrived: the provider's answer was lost.")


def _explain_waiting(message: Message) -> str:
    if message.campaign.status == Campaign.Status.PAUSED:
        return _("Waits because the campaign is paused.")
    if message.reason == Message.Reason.PROVIDER_ERROR:
        template = _("The provider could not take it; next try {when}.")
    elif message.due_at <= now():
        return _("Goes out within moments.")
    elif message.reason == Message.Reason.PRESSURE:
        template = _("Has had enough messages for now; waits until {when}.")
    elif message.campaign.respect_quiet_hours and message.campaign.clock == Campaign.Clock.MOMENT:
        template = _("Waits for the end of quiet hours, {when}.")
    else:
        template = _("Waits until {when}.")
    return template.format(when=moment(message.due_at))


def moment(at: datetime) -> str:
    """A date and time in the house's time zone, as the reader's language writes it."""
    return date_format(localtime(at), "SHORT_DATETIME_FORMAT")


def _with_detail(template: str, message: Message) -> str:
    sentence = template.format(reason=message.get_reason_display() or _("no reason was given"))
    return f"{sentence} {message.detail}".strip() if message.detail else sentence
