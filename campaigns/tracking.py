"""Openings and clicks as they happen, judged; the event log is told of people's, once, when it is sure.

A click waits for some seconds before it counts as final: only the clicks after it show that something
followed every link of the mail. So nothing that was told ever has to be taken back.
"""

from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.http import HttpRequest
from django.utils.timezone import now

from customers import events

from .machines import judge, visit_of
from .models import Click, Link, Message, Sign

SPREE_SECONDS = 5  # Before a click and after it; within it all links of a mail are too many for a person,
SPREE_OF_TWO_SECONDS = 2  # … and within this both of two.
SETTLE_AFTER = timedelta(seconds=2 * SPREE_SECONDS)
MOST_CLICKS = 200  # Of one message; nobody follows its links so often, and what comes after is not kept.

# As in the fence: a consent that is being withdrawn is waited for.
_HOLD_PERSON = "SELECT 1 FROM customers_customer WHERE id = %(customer)s FOR KEY SHARE"

# Nothing is written of somebody who does not agree at this moment.
_OPEN = """
INSERT INTO campaigns_open (message_id, is_machine, score, signs, opened_at, last_opened_at)
SELECT %(message)s, %(is_machine)s, %(score)s, %(signs)s::varchar[], clock_timestamp(), clock_timestamp()
FROM customers_consent
WHERE customer_id = %(customer)s AND channel = '' AND purpose = 'open_tracking' AND state = 'granted'
ON CONFLICT (message_id, is_machine)
    DO UPDATE SET times = campaigns_open.times + 1, last_opened_at = EXCLUDED.last_opened_at
RETURNING times
"""

_TELL_OPEN = """
INSERT INTO customers_event (customer_id, name, channel, source, key, occurred_at, order_ref, properties)
SELECT message.customer_id, %(opened)s, message.channel, 'campaigns', message.id || ':opened',
       clock_timestamp(), '',
       jsonb_build_object('campaign', campaign.id, 'campaign_name', campaign.name, 'message', message.id,
                          'subject', COALESCE(content.subject, ''))
FROM campaigns_message AS message
JOIN campaigns_campaign AS campaign ON campaign.id = message.campaign_id
LEFT JOIN campaigns_content AS content ON content.id = message.content_id
WHERE message.id = %(message)s
ON CONFLICT (source, key) DO NOTHING
"""

# Who followed every link of a mail within moments was no person, in none of those clicks.
_FIND_SPREES = """
WITH fresh AS (
    SELECT DISTINCT message_id FROM campaigns_click WHERE settled_at IS NULL AND NOT is_machine
),
spree AS (
    SELECT click.message_id, click.clicked_at - near.width AS begins, click.clicked_at + near.width AS ends
    FROM fresh
    JOIN campaigns_message AS message ON message.id = fresh.message_id
    JOIN campaigns_content AS content ON content.id = message.content_id AND content.tracked_links > 1
    JOIN campaigns_click AS click ON click.message_id = fresh.message_id
    CROSS JOIN LATERAL (SELECT make_interval(secs => CASE content.tracked_links
        WHEN 2 THEN %(spree_of_two)s ELSE %(spree)s END)) AS near(width)
    JOIN campaigns_click AS other ON other.message_id = click.message_id
        AND other.clicked_at BETWEEN click.clicked_at - near.width AND click.clicked_at + near.width
    GROUP BY click.id, near.width, content.tracked_links
    HAVING count(DISTINCT other.link_id) >= content.tracked_links
)
UPDATE campaigns_click AS click SET is_machine = true, score = 100, signs = signs || %(every_link)s::varchar
FROM spree
WHERE click.message_id = spree.message_id AND click.clicked_at BETWEEN spree.begins AND spree.ends
  AND click.settled_at IS NULL AND NOT click.is_machine
"""

# Uses click_unsettled; SKIP LOCKED lets two workers settle side by side.
_SETTLE = """
WITH due AS (
    SELECT id FROM campaigns_click
    WHERE settled_at IS NULL AND clicked_at < %(before)s
    ORDER BY clicked_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
),
settled AS (
    UPDATE campaigns_click AS click SET settled_at = clock_timestamp() FROM due WHERE click.id = due.id
    RETURNING click.*
),
told AS (
    INSERT INTO customers_event (customer_id, name, channel, source, key, occurred_at, order_ref, properties)
    SELECT message.customer_id, %(clicked)s, message.channel, 'campaigns', 'click:' || settled.id,
           settled.clicked_at, '',
           jsonb_build_object('campaign', campaign.id, 'campaign_name', campaign.name,
                              'message', message.id, 'url', link.url)
    FROM settled
    JOIN campaigns_message AS message ON message.id = settled.message_id
    JOIN campaigns_campaign AS campaign ON campaign.id = message.campaign_id
    JOIN campaigns_link AS link ON link.id = settled.link_id
    WHERE NOT settled.is_machine
    ORDER BY settled.id
    ON CONFLICT (source, key) DO NOTHING
)
SELECT count(*) FROM settled
"""


@transaction.atomic
def record_click(message_id: int, link_id: int, request: HttpRequest) -> str:
    """Note that a link was followed; returns the stored address to go to.

    Raises Message.DoesNotExist and Link.DoesNotExist.
    """
    message = Message.objects.get(pk=message_id)
    link = Link.objects.get(pk=link_id, campaign=message.campaign_id)
    if message.clicks.count() >= MOST_CLICKS:
        return link.url
    verdict = judge(visit_of(request, after=_since(message)))
    Click.objects.create(
        message=message,
        link=link,
        is_machine=verdict.is_machine,
        score=verdict.score,
        signs=verdict.signs,
        settled_at=None,
    )
    return link.url


@transaction.atomic
def record_open(message_id: int, request: HttpRequest) -> None:
    """Note that a mail was opened, if its reader agrees to that now; the log is told of people's first time.

    Raises Message.DoesNotExist.
    """
    message = Message.objects.get(pk=message_id)
    verdict = judge(visit_of(request, after=_since(message), is_open=True))
    params: dict[str, Any] = {
        "message": message.pk,
        "customer": message.customer_id,
        "is_machine": verdict.is_machine,
        "score": verdict.score,
        "signs": verdict.signs,
        "opened": events.MESSAGE_OPENED,
    }
    with connection.cursor() as cursor:
        cursor.execute(_HOLD_PERSON, params)
        cursor.execute(_OPEN, params)
        times = cursor.fetchone()
        if times == (1,) and not verdict.is_machine:
            cursor.execute(_TELL_OPEN, params)


def settle_clicks(*, at: datetime | None = None, limit: int = 5000) -> int:
    """Make clicks final that are old enough at an instant, and tell the log of people's; returns how many."""
    moment = at or now()
    params: dict[str, Any] = {
        "every_link": Sign.EVERY_LINK,
        "spree": SPREE_SECONDS,
        "spree_of_two": SPREE_OF_TWO_SECONDS,
        "before": moment - SETTLE_AFTER,
        "limit": limit,
        "clicked": events.MESSAGE_CLICKED,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_FIND_SPREES, params)
        cursor.execute(_SETTLE, params)
        settled: int = cursor.fetchone()[0]
    return settled


def _since(message: Message) -> timedelta | None:
    """How long ago it left; None before."""
    left = message.sent_at or message.sending_at
    return now() - left if left else None
