"""From an audience to messages: one INSERT … SELECT that judges everybody before anything is sent."""

from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from django.utils.timezone import now

from customers.contact import contacts_params, contacts_sql
from segments.compiler import audience_sql

from .gates import DUE_AT, REASON
from .models import Campaign

# Everybody in the audience on every channel of the campaign, with the content in their language (else the
# brand's, else any), when it may go, and the verdict of the gates.
_JUDGED = """
WITH audience AS MATERIALIZED ({audience}),
contact AS ({contacts}),
candidate AS (
    SELECT contact.*, content.id AS content_id, campaign.expires_at, {due_at} AS due_at
    FROM contact
    JOIN customers_customer AS customer ON customer.id = contact.customer_id
    JOIN campaigns_campaign AS campaign ON campaign.id = %(campaign)s
    JOIN campaigns_brand AS brand ON brand.id = campaign.brand_id
    JOIN LATERAL (
        SELECT id FROM campaigns_content
        WHERE campaign_id = campaign.id AND channel = contact.channel
        ORDER BY language = customer.language DESC, language = brand.default_language DESC, language
        LIMIT 1
    ) AS content ON true
)
SELECT customer_id, channel, content_id, address, due_at, {reason} AS reason FROM candidate
"""

_PLAN = """
INSERT INTO campaigns_message
    (campaign_id, customer_id, channel, content_id, address, status, reason, due_at, settled_at)
SELECT %(campaign)s, customer_id, channel, content_id, COALESCE(address, ''),
       CASE reason WHEN '' THEN 'planned' ELSE 'suppressed' END, reason, due_at,
       CASE reason WHEN '' THEN NULL ELSE now() END
FROM ({judged}) AS judged
ON CONFLICT (campaign_id, customer_id, channel, step, occurrence) DO NOTHING
"""

_FORECAST = """
SELECT channel, reason, count(*), count(DISTINCT customer_id) FROM ({judged}) AS judged
GROUP BY GROUPING SETS ((channel, reason), (reason))
"""


@dataclass
class Forecast:
    """What planning would write now: by channel, how many would go and how many be held back and why."""

    people: int = 0
    sendable: dict[str, int] = field(default_factory=dict)
    held_back: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def messages(self) -> int:
        return sum(self.sendable.values())


def channels_of(campaign: Campaign) -> list[str]:
    """The channels a campaign has content for, in a steady order."""
    return list(campaign.contents.order_by("channel").values_list("channel", flat=True).distinct())


def forecast(campaign: Campaign) -> Forecast:
    """Judge the audience as planning would, and write nothing: the number on the last button."""
    sql, params = _judged_sql(campaign)
    result = Forecast()
    with connection.cursor() as cursor:
        cursor.execute(_FORECAST.format(judged=sql), params)
        for channel, reason, messages, people in cursor.fetchall():
            if channel is None:  # The grand total of each verdict.
                result.people += people if reason == "" else 0
            elif reason:
                result.held_back.setdefault(channel, {})[reason] = messages
            else:
                result.sendable[channel] = messages
    return result


def plan_messages(campaign: Campaign) -> int:
    """Write one row per person and channel, the held back included; repeating adds nothing."""
    sql, params = _judged_sql(campaign)
    with connection.cursor() as cursor:
        cursor.execute(_PLAN.format(judged=sql), params)
        return cursor.rowcount


def _judged_sql(campaign: Campaign) -> tuple[str, dict[str, Any]]:
    include = list(campaign.include.values_list("pk", flat=True))
    exclude = list(campaign.exclude.values_list("pk", flat=True))
    audience = audience_sql(include, exclude, now())
    moment = "GREATEST(now(), campaign.send_at)"
    sql = _JUDGED.format(
        audience=audience.sql,
        contacts=contacts_sql("audience"),
        due_at=DUE_AT.format(moment=moment),
        reason=REASON,
    )
    params = audience.params | contacts_params(channels_of(campaign)) | {"campaign": campaign.pk}
    return sql, params
