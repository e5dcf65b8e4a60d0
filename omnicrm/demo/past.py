"""Turns a campaign planned this minute into one sent on a day of the past, with all its traces.

Only the demo does this. What it writes is what the dispatcher, the reports and the customers would have
left behind, so that every invariant holds: nobody is written to before they were a customer, outside their
hours, or without a consent older than the message.
"""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection

from campaigns.models import Message
from customers import events
from customers.models import Suppression
from customers.services import suppress_address

# Who became a customer later was not in the audience.
_FORGET_STRANGERS = """
DELETE FROM campaigns_message AS message USING customers_customer AS customer
WHERE customer.id = message.customer_id AND message.campaign_id = %(campaign)s
  AND customer.created_at > %(at)s
"""

_DUE = """
UPDATE campaigns_message AS message SET
    planned_at = %(at)s, due_at = due.at, scheduled_for = due.at,
    expires_at = due.at + make_interval(hours => campaign.expire_hours),
    settled_at = CASE message.status WHEN 'suppressed' THEN %(at)s::timestamptz END
FROM customers_customer AS customer
CROSS JOIN campaigns_campaign AS campaign
JOIN campaigns_brand AS brand ON brand.id = campaign.brand_id
CROSS JOIN LATERAL (SELECT outside_quiet_hours(
    %(at)s, COALESCE(NULLIF(customer.timezone, ''), brand.timezone), brand.quiet_from, brand.quiet_until)
) AS due(at)
WHERE message.campaign_id = %(campaign)s AND customer.id = message.customer_id
  AND campaign.id = message.campaign_id
"""

# As the demo's mail server and the text-message sandbox answer; within ten minutes of the hour.
_SEND = """
UPDATE campaigns_message AS message SET
    status = fate.status, sending_at = fate.at, settled_at = fate.at + interval '2 seconds',
    reason = fate.reason,
    attempts = CASE fate.status WHEN 'failed' THEN 5 ELSE 1 END,
    sent_at = CASE WHEN fate.status IN ('sent', 'delivered') OR channel = 'sms' AND fate.status = 'bounced'
                   THEN fate.at + interval '200 milliseconds' END,
    detail = CASE WHEN fate.status = 'failed' THEN '503 Service unavailable'
                  WHEN fate.status = 'bounced' AND channel = 'email' THEN '550 5.1.1 No such user' ELSE '' END
FROM (
    SELECT id, due_at + make_interval(secs => abs(hashint8(id)::bigint) %% 600) AS at,
           CASE WHEN address LIKE 'gone.%%' OR channel = 'sms' AND address LIKE '%%0001' THEN 'bounced'
                WHEN channel = 'sms' AND address LIKE '%%0000' THEN 'failed'
                WHEN channel = 'email' THEN 'sent' ELSE 'delivered' END AS status,
           CASE WHEN address LIKE 'gone.%%' OR channel = 'sms' AND address LIKE '%%0001' THEN 'bad_address'
                WHEN channel = 'sms' AND address LIKE '%%0000' THEN 'provider_error' ELSE '' END AS reason
    FROM campaigns_message WHERE campaign_id = %(campaign)s AND status = 'planned'
) AS fate
WHERE message.id = fate.id
"""

_TELL = """
INSERT INTO customers_event (customer_id, name, channel, source, key, occurred_at, order_ref, properties)
SELECT message.customer_id, told.name, message.channel, 'campaigns', message.id || ':' || told.state,
       told.at, '', jsonb_build_object('campaign', campaign.id, 'campaign_name', campaign.name,
                                       'message', message.id, 'subject', content.subject)
FROM campaigns_message AS message
JOIN campaigns_campaign AS campaign ON campaign.id = message.campaign_id
JOIN campaigns_content AS content ON content.id = message.content_id
CROSS JOIN LATERAL (VALUES
    ('sent', %(sent)s, message.sent_at, message.sent_at IS NOT NULL),
    ('delivered', %(delivered)s, message.settled_at, message.status = 'delivered'),
    ('bounced', %(bounced)s, message.settled_at, message.status = 'bounced')
) AS told(state, name, at, happened)
WHERE message.campaign_id = %(campaign)s AND told.happened
"""

# Some follow the link within two days, most of them soon; a few scanners look at once. Who, hangs on the
# address and the campaign's name alone, so that the story is the same every time.
_CLICK = """
WITH clicked AS (
    INSERT INTO campaigns_click (message_id, link_id, clicked_at, is_machine)
    SELECT message.id, link.id,
           CASE WHEN is_machine THEN message.sent_at + interval '2 seconds'
                ELSE message.sent_at + (3 + (draw * 7 %% 52) ^ 2) * interval '1 minute' END,
           is_machine
    FROM campaigns_message AS message
    JOIN LATERAL (SELECT id FROM campaigns_link WHERE campaign_id = message.campaign_id
                  ORDER BY url LIKE '%%/' || (
                      SELECT language FROM campaigns_content WHERE id = message.content_id) || '/%%' DESC, id
                  LIMIT 1) AS link ON true
    CROSS JOIN LATERAL (SELECT abs(hashtext(message.address || %(lot)s)::bigint) %% 1000 AS draw) AS lot
    CROSS JOIN LATERAL (SELECT draw >= 985 AS is_machine) AS who
    WHERE message.campaign_id = %(campaign)s AND message.status IN ('sent', 'delivered')
      AND (draw < %(clicked)s OR is_machine)
    RETURNING *
)
INSERT INTO customers_event (customer_id, name, channel, source, key, occurred_at, order_ref, properties)
SELECT message.customer_id, %(clicked_name)s, message.channel, 'campaigns', 'click:' || clicked.id,
       clicked.clicked_at, '',
       jsonb_build_object('campaign', campaign.id, 'campaign_name', campaign.name, 'message', message.id,
                          'url', link.url)
FROM clicked
JOIN campaigns_message AS message ON message.id = clicked.message_id
JOIN campaigns_campaign AS campaign ON campaign.id = message.campaign_id
JOIN campaigns_link AS link ON link.id = clicked.link_id
WHERE NOT clicked.is_machine
"""

# Some leave: a withdrawn consent with the message as its proof, and the two events of it.
_LEAVE = """
WITH leaving AS (
    SELECT message.id, message.customer_id, message.channel, campaign.name AS campaign_name,
           message.campaign_id, message.sent_at + interval '47 minutes' AS at
    FROM campaigns_message AS message JOIN campaigns_campaign AS campaign ON campaign.id = message.campaign_id
    WHERE message.campaign_id = %(campaign)s AND message.status IN ('sent', 'delivered')
      AND abs(hashtext(message.address || ' leaves ' || campaign.name)::bigint) %% 1000 < %(left)s
),
said AS (
    INSERT INTO customers_consentevent
        (customer_id, channel, purpose, state, source, wording, evidence, effective_at)
    SELECT customer_id, channel, 'marketing', 'revoked', 'unsubscribe page', '', 'message ' || id, at
    FROM leaving
    RETURNING id, customer_id, channel, effective_at
)
INSERT INTO customers_event (customer_id, name, channel, source, key, occurred_at, order_ref, properties)
SELECT customer_id, %(consent_changed)s, channel, 'consent', id::text, effective_at, '',
       '{"state": "revoked", "purpose": "marketing", "source": "unsubscribe page"}'::jsonb
FROM said
UNION ALL
SELECT customer_id, %(unsubscribed)s, channel, 'campaigns', id || ':unsubscribed', at, '',
       jsonb_build_object('campaign', campaign_id, 'campaign_name', campaign_name, 'message', id)
FROM leaving
"""

# What the calendar keeps of it; what was sent is counted from the event log, as always.
_REMEMBER = """
WITH launched AS (
    UPDATE campaigns_occurrence AS occurrence SET
        launch_at = %(at)s, launched_at = %(at)s,
        local_date = (%(at)s AT TIME ZONE brand.timezone)::date,
        local_time = (%(at)s AT TIME ZONE brand.timezone)::time
    FROM campaigns_campaign AS campaign JOIN campaigns_brand AS brand ON brand.id = campaign.brand_id
    WHERE occurrence.campaign_id = campaign.id AND campaign.id = %(campaign)s
),
forgotten AS (DELETE FROM campaigns_campaignday WHERE campaign_id = %(campaign)s AND day > %(at)s::date)
INSERT INTO campaigns_campaignday (campaign_id, occurrence, channel, day, planned)
SELECT campaign_id, occurrence, channel, (due_at AT TIME ZONE %(house)s)::date, count(*)
FROM campaigns_message WHERE campaign_id = %(campaign)s AND status <> 'suppressed' GROUP BY 1, 2, 3, 4
ON CONFLICT (campaign_id, occurrence, channel, day) DO UPDATE SET planned = EXCLUDED.planned
"""

_CLOSE = """
UPDATE campaigns_campaign SET
    status = 'sent', send_at = %(at)s, planned_at = %(at)s,
    created_at = %(at)s::timestamptz - interval '3 days',
    finished_at = COALESCE((SELECT max(settled_at) FROM campaigns_message
                            WHERE campaign_id = %(campaign)s), %(at)s)
WHERE id = %(campaign)s
"""


def move_into_the_past(campaign_id: int, *, name: str, at: datetime, clicked: int, left: int) -> None:
    """Send a planned campaign on a past day; `clicked` and `left` are people in a thousand."""
    params: dict[str, Any] = {
        "campaign": campaign_id,
        "at": at,
        "house": settings.TIME_ZONE,
        "lot": f" follows {name}",
        "clicked": clicked,
        "left": left,
        "sent": events.MESSAGE_SENT,
        "delivered": events.MESSAGE_DELIVERED,
        "bounced": events.MESSAGE_BOUNCED,
        "clicked_name": events.MESSAGE_CLICKED,
        "unsubscribed": events.MESSAGE_UNSUBSCRIBED,
        "consent_changed": events.CONSENT_CHANGED,
    }
    with connection.cursor() as cursor:
        for statement in (_FORGET_STRANGERS, _DUE, _SEND, _TELL, _CLICK, _LEAVE, _REMEMBER, _CLOSE):
            cursor.execute(statement, params)
    _block_bounced(campaign_id)


def _block_bounced(campaign_id: int) -> None:
    bounced = Message.objects.filter(campaign=campaign_id, status=Message.Status.BOUNCED)
    for message in bounced.order_by("pk"):
        blocked = suppress_address(
            channel=message.channel, address=message.address, reason=Suppression.Reason.BOUNCED
        )
        if message.settled_at and message.settled_at < blocked.created_at:
            Suppression.objects.filter(pk=blocked.pk).update(created_at=message.settled_at)
