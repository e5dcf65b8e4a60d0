"""What was sent on which day, counted as it happens: the calendar reads days, never messages."""

from collections.abc import Sequence

from django.conf import settings
from django.db import connection

from core.cursor import consume
from customers import events
from customers.models import Event

CURSOR = "campaigns.days"

# A message's own occurrence and channel; the day is when it left, on the house's clock.
_COUNT = """
INSERT INTO campaigns_campaignday AS kept (campaign_id, occurrence, channel, day, sent)
SELECT message.campaign_id, message.occurrence, message.channel,
       (event.occurred_at AT TIME ZONE %(zone)s)::date AS day, count(*)
FROM customers_event AS event
JOIN campaigns_message AS message ON message.id = (event.properties ->> 'message')::bigint
WHERE event.id = ANY(%(ids)s)
GROUP BY message.campaign_id, message.occurrence, message.channel, day
ORDER BY message.campaign_id, message.occurrence, message.channel, day
ON CONFLICT (campaign_id, occurrence, channel, day) DO UPDATE SET sent = kept.sent + EXCLUDED.sent
"""


def follow_sent(*, limit: int = 5000) -> int:
    """Count the next messages that the log says were sent; returns how many events were read."""
    log = Event.objects.filter(name=events.MESSAGE_SENT, source="campaigns").only("pk", "tx")
    return consume(CURSOR, log, _count, limit=limit)


def _count(sent: Sequence[Event]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, {"ids": [event.pk for event in sent], "zone": settings.TIME_ZONE})
