"""From an audience to messages: one INSERT … SELECT that judges everybody before anything is sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils.timezone import now

from core.patience import allow_seconds
from customers.contact import contacts_params, contacts_sql
from segments.compiler import audience_sql

from . import limits
from .gates import HELD_OUT, REASON, SAME_ADDRESS, lot_params
from .models import Campaign, Message, Occurrence
from .occurrences import next_wall, wall_time_of
from .timing import Departure, Due, day_of_audience, departure, timetable

PLANNING_SECONDS = 900  # It is planned whole or not at all.

# Everybody in the audience on every channel of the campaign, with the content in their language (else the
# brand's, else any), when it may go and until when, and the verdict of the gates.
_JUDGED = """
WITH audience AS MATERIALIZED ({audience}),
{timetable},
{spent}
own_text(channel, language, id) AS (
    SELECT * FROM unnest(%(text_channels)s::text[], %(text_languages)s::text[], %(text_ids)s::bigint[])
),
any_text(channel, id) AS (SELECT * FROM unnest(%(channels)s::text[], %(any_ids)s::bigint[])),
gated AS (
    SELECT customer_id, contact.channel, address, contact.zone, due_at, expires_at,
           COALESCE(own_text.id, any_text.id) AS content_id,
           COALESCE(NULLIF({reason}, ''), CASE WHEN {same_address} THEN 'same_address'
                                               WHEN {held_out} THEN 'holdout' ELSE '' END) AS reason
    FROM ({contacts}) AS contact
    JOIN timetable ON timetable.zone = contact.zone AND timetable.slot = contact.slot
    JOIN any_text ON any_text.channel = contact.channel
    LEFT JOIN own_text ON own_text.channel = contact.channel AND own_text.language = contact.language
),
asking AS (SELECT gated.*, reason = '' AS passes, {points} AS points, {before} AS before FROM gated {window})
SELECT asking.customer_id, channel, content_id, address, due_at AS scheduled_for, expires_at,
       GREATEST(due_at, deferred.until) AS due_at, deferred.until IS NOT NULL AS is_deferred,
       CASE WHEN passes AND deferred.until >= expires_at THEN 'pressure' ELSE reason END AS reason
FROM asking
{limits}
CROSS JOIN LATERAL (SELECT {until}) AS deferred(until)
"""

# When there is room again, quiet hours respected; to the minute, for few distinct times.
_UNTIL = """
CASE WHEN pressure.free_at IS NOT NULL THEN date_trunc('minute', interval '1 minute' + CASE
    WHEN %(respect_quiet_hours)s THEN outside_quiet_hours(
        pressure.free_at, COALESCE(NULLIF(zone, ''), %(brand_zone)s), %(quiet_from)s::time,
        %(quiet_until)s::time)
    ELSE pressure.free_at END) END
"""

# The messages. Both times are the transaction's, so that who was held back at once is told from who was
# later (campaigns.outcome).
_PLAN = """
INSERT INTO campaigns_message (campaign_id, occurrence, customer_id, channel, content_id, address, status,
                               reason, due_at, scheduled_for, expires_at, planned_at, settled_at)
SELECT %(campaign)s, %(occurrence)s, customer_id, channel, content_id, COALESCE(address, ''),
       CASE reason WHEN '' THEN 'planned' ELSE 'suppressed' END,
       CASE WHEN reason = '' AND is_deferred THEN 'pressure' ELSE reason END,
       CASE reason WHEN '' THEN due_at ELSE scheduled_for END, scheduled_for, expires_at, now(),
       CASE reason WHEN '' THEN NULL ELSE now() END
FROM ({judged}) AS judged
ON CONFLICT (campaign_id, customer_id, channel, step, occurrence) DO NOTHING
"""

# What was just planned means for the calendar: days are those of the house's clock.
_REMEMBER = """
WITH planned AS (
    SELECT channel, (due_at AT TIME ZONE %(house)s)::date AS day, count(*) AS messages
    FROM campaigns_message
    WHERE campaign_id = %(campaign)s AND occurrence = %(occurrence)s AND status = 'planned'
      AND planned_at = now()
    GROUP BY channel, day
),
remembered AS (
    INSERT INTO campaigns_campaignday AS kept (campaign_id, occurrence, channel, day, planned)
    SELECT %(campaign)s, %(occurrence)s, channel, day, messages FROM planned
    ON CONFLICT (campaign_id, occurrence, channel, day)
        DO UPDATE SET planned = kept.planned + EXCLUDED.planned
)
SELECT COALESCE(sum(messages), 0)::bigint FROM planned
"""

# Every table is read once, its hash kept in memory. PostgreSQL cannot guess the size of an audience, and
# searching tables person by person where it takes a million for one, or pairing everybody with everybody,
# would cost hours.
_SETTINGS = {"enable_nestloop": "off", "work_mem": "256MB"}
_SHOW = ", ".join(f"current_setting('{name}')" for name in _SETTINGS)
_SET = ", ".join(f"set_config('{name}', %({name})s, true)" for name in _SETTINGS)
MANY = 1_000  # From so many new messages on, plans made for fewer are made anew.

# Counts by verdict, then by when what may go is due.
_FORECAST = """
WITH judged AS MATERIALIZED (
    SELECT channel, reason, customer_id, due_at, expires_at FROM ({judged}) AS judged
)
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
    held_out: int = 0  # People left out for comparison.
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
    with reading_each_table_once(), connection.cursor() as cursor:
        cursor.execute(_FORECAST.format(judged=sql), params)
        for channel, reason, due_at, expires_at, messages, people in cursor.fetchall():
            if due_at is not None:
                dues.append(Due(due_at, expires_at, messages))
            elif channel is None:  # The grand total of each verdict.
                result.people += people if reason == "" else 0
                result.held_out += people if reason == Message.Reason.HOLDOUT else 0
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
    is_rerun = Message.objects.filter(campaign=campaign, occurrence=occurrence.number).exists()
    sql, params = _judged_sql(campaign, wall_time_of(occurrence), at or now(), is_rerun=is_rerun)
    params |= {"occurrence": occurrence.number, "house": settings.TIME_ZONE}
    with reading_each_table_once(), connection.cursor() as cursor:
        cursor.execute(_PLAN.format(judged=sql), params)
        written = cursor.rowcount
        cursor.execute(_REMEMBER, params)
        planned: int = cursor.fetchone()[0]
        if written >= MANY:
            # Dispatchers keep their plans until they hear that a table has grown.
            cursor.execute("ANALYZE campaigns_message")
    return planned


@contextmanager
def reading_each_table_once() -> Iterator[None]:
    """Have the statements inside planned by _SETTINGS, and those after them in the transaction as before."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SELECT {_SHOW}")
        before = dict(zip(_SETTINGS, cursor.fetchone(), strict=True))
        cursor.execute(f"SELECT {_SET}", _SETTINGS)
        yield
        cursor.execute(f"SELECT {_SET}", before)


def _judged_sql(
    campaign: Campaign, wall: datetime, at: datetime, *, is_rerun: bool = False
) -> tuple[str, dict[str, Any]]:
    include = list(campaign.include.values_list("pk", flat=True))
    exclude = list(campaign.exclude.values_list("pk", flat=True))
    audience = audience_sql(include, exclude, day_of_audience(campaign, wall, at))
    channels, times = channels_of(campaign), timetable(campaign, wall, at)
    taken = SAME_ADDRESS.format(
        campaign="%(campaign)s",
        occurrence="%(occurrence)s",
        channel="contact.channel",
        address="contact.address",
        customer="contact.customer_id",
    )
    sql = _JUDGED.format(
        audience=audience.sql,
        timetable=times.sql,
        contacts=contacts_sql("person", carry=("language", "zone", "slot")),
        reason=REASON,
        same_address=taken if is_rerun else "false",
        held_out=HELD_OUT.format(customer="customer_id"),
        **_limits_sql(campaign, channels),
    )
    params = audience.params | contacts_params(channels) | times.params | limits.params_for(campaign.brand)
    params |= lot_params(campaign.pk, campaign.holdout_percent) | _texts(campaign, channels)
    return sql, params | {
        "campaign": campaign.pk,
        "respect_quiet_hours": campaign.respect_quiet_hours,
        "quiet_from": campaign.brand.quiet_from,
        "quiet_until": campaign.brand.quiet_until,
    }


def _limits_sql(campaign: Campaign, channels: list[str]) -> dict[str, str]:
    """What the brand's limits add to the judging. On one channel nothing of the campaign goes before."""
    points = limits.points_sql("channel")
    if not limits.are_set(campaign.brand):
        nothing = {"spent": "", "window": "", "limits": ""}
        return nothing | {"points": "0", "before": "0", "until": "NULL::timestamptz"}
    parts = {
        "spent": limits.SPENT_BY_ALL,
        "points": points,
        "before": "0",
        "window": "",
        "limits": limits.WHEN_PLANNING,
        "until": _UNTIL,
    }
    if len(channels) > 1:
        parts |= {
            "points": f"COALESCE(sum({points}) FILTER (WHERE reason = '') OVER earlier, 0)",
            "before": "COALESCE(count(*) FILTER (WHERE reason = '') OVER earlier, 0) - (reason = '')::int",
            "window": f"WINDOW earlier AS (PARTITION BY customer_id ORDER BY {points}, channel)",
        }
    return parts


def _texts(campaign: Campaign, channels: list[str]) -> dict[str, Any]:
    """The contents of a campaign, and for each channel the one for people of other languages."""
    texts = list(campaign.contents.order_by("language").values_list("channel", "language", "pk"))
    preferred = campaign.brand.default_language
    in_order = sorted(texts, key=lambda text: text[1] != preferred)
    return {
        "text_channels": [channel for channel, _, _ in texts],
        "text_languages": [language for _, language, _ in texts],
        "text_ids": [pk for _, _, pk in texts],
        "any_ids": [next(pk for named, _, pk in in_order if named == channel) for channel in channels],
    }
