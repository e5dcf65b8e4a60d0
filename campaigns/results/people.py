"""The people behind a figure."""

from django.db.models import QuerySet

from customers import events
from customers.models import Event

from ..models import Campaign, Click, Conversion, Message, MessageQuerySet, Open
from .figures import GROUPS


def behind(campaign: Campaign, *, group: str = "", channel: str = "", reason: str = "") -> MessageQuerySet:
    """The messages behind a figure: a group of GROUPS, or lost, clicked, unsubscribed, ordered; '' is all."""
    messages: MessageQuerySet = Message.objects.filter(campaign=campaign)
    if channel:
        messages = messages.filter(channel=channel)
    if reason:
        messages = messages.filter(reason=reason)
    if group in GROUPS:
        messages = messages.filter(status__in=GROUPS[group])
    elif group == "lost":
        messages = messages.filter(status__in=GROUPS["bounced"] + GROUPS["failed"])
    elif group == "clicked":
        clicks = Click.objects.filter(link__campaign=campaign, is_machine=False)
        messages = messages.filter(pk__in=clicks.values("message"))
    elif group == "opened":
        opens = Open.objects.filter(message__campaign=campaign, is_machine=False)
        messages = messages.filter(pk__in=opens.values("message"))
    elif group == "ordered":
        messages = messages.filter(pk__in=Conversion.objects.filter(campaign=campaign).values("message"))
    elif group == "unsubscribed":
        left = [event.properties["message"] for event in unsubscribe_events(campaign)]
        messages = messages.filter(pk__in=left)
    return messages


def unsubscribe_events(campaign: Campaign) -> QuerySet[Event]:
    """Who left through a message of this campaign. Uses event_name_time."""
    return Event.objects.filter(
        name=events.MESSAGE_UNSUBSCRIBED,
        occurred_at__gte=campaign.planned_at or campaign.created_at,
        properties__campaign=campaign.pk,
    )
