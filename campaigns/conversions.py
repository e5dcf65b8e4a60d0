"""Orders that follow a message: a consumer of the event log credits each to the last message before it."""

from collections.abc import Sequence

from django.db import connection

from core.cursor import consume
from customers import events
from customers.models import Event

CURSOR = "campaigns.conversions"

# The last message before the order whose goal window still held it; uses message_of_customer.
_CREDIT = """
INSERT INTO campaigns_conversion
    (campaign_id, message_id, event_id, revenue_minor, currency, occurred_at)
SELECT message.campaign_id, message.id, event.id,
       COALESCE((event.properties ->> 'total_minor')::bigint, 0),
       COALESCE(event.properties ->> 'currency', ''), event.occurred_at
FROM customers_event AS event
JOIN LATERAL (
    SELECT message.id, message.campaign_id
    FROM campaigns_message AS message
    JOIN campaigns_campaign AS campaign ON campaign.id = message.campaign_id
    WHERE message.customer_id = event.customer_id AND message.status IN ('sent', 'delivered')
      AND message.sent_at <= event.occurred_at
      AND message.sent_at > event.occurred_at - make_interval(days => campaign.goal_days)
    ORDER BY message.sent_at DESC, message.id DESC LIMIT 1
) AS message ON true
WHERE event.id = ANY(%(ids)s)
ON CONFLICT (event_id) DO NOTHING
"""


def follow_orders(*, limit: int = 5000) -> int:
    """Credit the next orders in the log; returns how many events were read."""
    return consume(CURSOR, Event.objects.filter(name=events.ORDER_COMPLETED), _credit, limit=limit)


def _credit(orders: Sequence[Event]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_CREDIT, {"ids": [order.pk for order in orders]})
