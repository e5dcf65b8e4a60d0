"""From an audience to messages: one INSERT … SELECT that judges everybody before anything is sent."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils.timezone import now

from core.patience import allow_seconds
from customers.contact import contacts_params, contacts_sql
from segments.compiler import audience_sql

from .gates import REASON
from .models import Campaign, Occurrence
from .occurrences import next_wall, wall_time_of
from .timing import Departure, Due, day_of_audience, departure, timetable

PLANNING_SECONDS = 900  # It is planned whole or not at all.

# Everybody in the audience on every channel of the campaign, with the content in their language (else the
# brand's, else any), when it may go and until when, and the verdict of the gates.
_JUDGED = """
WITH audience AS MATERIALIZED ({audience}),
{timetable},
contact AS ({contacts}),
candidate AS (
    SELECT contact.*, content.id AS content_id, timetable.due_at, timetable.expires_at
    FROM contact
    JOIN timetable ON timetable.zone = contact.zone AND timetable.slot = contact.slot
    JOIN LATERAL (
        SELECT id FROM campaigns_content
        WHERE campaign_id = %(campaign)s AND channel = contact.channel
        ORDER BY language = contact.language DESC, language = %(brand_language)s DESC, language
        LIMIT 1
    ) AS content ON true
)
SELECT customer_id, channel, content_id, address, due_at, expires_at, {reason} AS reason FROM candidate
"""

# The messages, and what they mean for the calendar: days are those of the house's clock.
_PLAN = """
WITH written AS (
    INSERT INTO campaigns_message (campaign_id, occurrence, customer_id, channel, content_id, address,
                                   status, reason, due_at, expires_at, settled_at)
    SELECT %(campaign)s, %(occurrence)s, customer_id, channel, content_id, COALESCE(address, ''),
           CASE reason WHEN '' THEN 'planned' ELSE 'suppressed' END, reason, due_at, expires_at,
           CASE reason WHEN '' THEN NULL ELSE now() END
    FROM ({judged}) AS judged
    ON CONFLICT (campaign_id, customer_id, channel, step, occurrence) DO NOTHING
    RETURNING channel, status, due_at
),
planned AS (
    INSERT INTO campaigns_campaignday AS kept (campaign_id, occurrence, channel, day, planned)
    SELECT %(campaign)s, %(occurrence)s, channel, (due_at AT TIME ZONE %(house)s)::date AS day, count(*)
    FROM written WHERE status = 'planned' GROUP BY channel, day ORDER BY channel, day
    ON CONFLICT (campaign_id, occurrence, channel, day)
        DO UPDATE SET planned = kept.planned + EXCLUDED.planned
    RETURNING 1
)
SELECT count(*) FILTER (WHERE status = 'planned'), count(*) FROM written
"""

# Counts by verdict, then by when what may go is due.
_FORECAST = """
WITH judged AS MATERIALIZED ({judged})
SELECT channel, reason, NULL::timestamptz AS due_at, NULL::timestamptz AS expires_at,
       count(*), count(DISTINCT customer_id)
FROM judged GROUP BY GROUPING SETS ((channel, reason), (reason))
UNION ALL
SELECT NULL, NULL, due_at, expires_at, count(*), 0 FROM judged WHERE reason = '' GROUP BY due_at, expires_at
"""


@dataclass
class Forecast:
    """What planning would write now: by channel, how many would go and how many be held back and why."""

    people: int = 0
    sendable: dict[str, int] = field(default_factory=dict)
    held_back: dict[str, dict[str, int]] = field(default_factory=dict)
    departure: Departure = field(default_factory=Departure)

    @property
    def messages(self) -> int:
        return sum(self.sendable.values())


def channels_of(campaign: Campaign) -> list[str]:
    """The channels a campaign has content for, in a steady order."""
    return list(campaign.contents.order_by("channel").values_list("channel", flat=True).distinct())


def forecast(campaign: Campaign, *, at: datetime | None = None) -> Forecast:
    """Judge the audience as planning its next occurrence would, and write nothing: the number on the last
    button. Before it is scheduled the campaign is judged as if it were now.
    """
    at = at or now()
    pending = campaign.occurrences.filter(state=Occurrence.State.PENDING).first()
    wall = wall_time_of(pending) if pending else next_wall(campaign, at)
    sql, params = _judged_sql(campaign, wall or datetime.combine(at.date(), at.time()), at)
    result, dues = Forecast(), list[Due]()
    with connection.cursor() as cursor:
        cursor.execute(_FORECAST.format(judged=sql), params)
        for channel, reason, due_at, expires_at, messages, people in cursor.fetchall():
            if due_at is not None:
                dues.append(Due(due_at, expires_at, messages))
            elif channel is None:  # The grand total of each verdict.
                result.people += people if reason == "" else 0
            elif reason:
                result.held_back.setdefault(channel, {})[reason] = messages
            else:
                result.sendable[channel] = messages
    result.departure = departure(dues, campaign.throttle_per_hour)
    return result


def plan_messages(campaign: Campaign, occurrence: Occurrence, *, at: datetime | None = None) -> int:
    """Write one row per person and channel for an occurrence, the held back included; returns how many are
    to be sent. Repeating adds nothing.
    """
    allow_seconds(PLANNING_SECONDS)
    sql, params = _judged_sql(campaign, wall_time_of(occurrence), at or now())
    params |= {"occurrence": occurrence.number, "house": settings.TIME_ZONE}
    with connection.cursor() as cursor:
        cursor.execute(_PLAN.format(judged=sql), params)
        planned: int = cursor.fetchone()[0]
    return planned


def _judged_sql(campaign: Campaign, wall: datetime, at: datetime) -> tuple[str, dict[str, Any]]:
    include = list(campaign.include.values_list("pk", flat=True))
    exclude = list(campaign.exclude.values_list("pk", flat=True))
    audience = audience_sql(include, exclude, day_of_audience(campaign, wall, at))
    times = timetable(campaign, wall, at)
    sql = _JUDGED.format(
        audience=audience.sql,
        timetable=times.sql,
        contacts=contacts_sql("person", carry=("language", "zone", "slot")),
        reason=REASON,
    )
    params = audience.params | contacts_params(channels_of(campaign)) | times.params
    return sql, params | {"campaign": campaign.pk, "brand_language": campaign.brand.default_language}
