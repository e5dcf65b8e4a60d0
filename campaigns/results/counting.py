"""Counting a campaign's outcome: set-based questions over all its messages, asked by workers.

Pages read what was counted last (`campaigns.results.reading`), so a campaign of a million messages costs a
page as much as one of ten. How often is counted again follows from how much can still change, and from what
the last count cost.
"""

import time
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, Q, Sum
from django.utils.timezone import get_current_timezone_name, now

from ..models import Campaign, Click, Conversion, Message, Open, Tally
from .figures import GROUP_OF, MAX_BARS, ChannelFigures, Left, LinkFigures, Results
from .people import unsubscribe_events

# Uses the index of message_once, which begins with the campaign; so do the next two.
_COUNTS = """
SELECT channel, status, reason, count(*), min(due_at) FILTER (WHERE status = 'planned' AND due_at > now()),
       count(*) FILTER (WHERE status IN ('leased', 'sending') OR status = 'planned' AND due_at <= now()),
       COALESCE(sum(parts), 0), currency, COALESCE(sum(cost_micros), 0)::bigint
FROM campaigns_message WHERE campaign_id = %(campaign)s GROUP BY channel, status, reason, currency
"""

_PEOPLE = """
SELECT count(*), count(*) FILTER (WHERE reached) FROM (
    SELECT bool_or(status IN ('sent', 'delivered')) AS reached FROM campaigns_message
    WHERE campaign_id = %(campaign)s GROUP BY customer_id) AS person
"""

_SPEED = """
SELECT date_trunc(%(unit)s, sent_at AT TIME ZONE %(zone)s) AS bucket, channel, count(*)
FROM campaigns_message WHERE campaign_id = %(campaign)s AND sent_at IS NOT NULL
GROUP BY bucket, channel ORDER BY bucket
"""

# Every campaign that was planned has a row to count into.
_OPEN = """
INSERT INTO campaigns_tally (campaign_id, cost_ms, figures)
SELECT id, 0, '{}' FROM campaigns_campaign AS campaign
WHERE planned_at IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM campaigns_tally WHERE campaign_id = campaign.id)
ON CONFLICT DO NOTHING
"""

# The count that is most overdue. Whatever a count costs, it takes up a twentieth of the time at most.
_OVERDUE = """
SELECT tally.campaign_id FROM campaigns_tally AS tally
JOIN campaigns_campaign AS campaign ON campaign.id = tally.campaign_id
CROSS JOIN LATERAL (
    SELECT greatest(make_interval(secs => tally.cost_ms * 20 / 1000.0), CASE
        WHEN campaign.status = 'sending' OR campaign.finished_at > now() - interval '10 minutes'
            THEN interval '2 seconds'
        WHEN campaign.finished_at IS NULL OR campaign.finished_at > now() - interval '1 day'
            THEN interval '1 minute'
        WHEN campaign.finished_at > now() - make_interval(days => campaign.goal_days + 7)
            THEN interval '10 minutes'
        ELSE interval '1 day' END) AS every
) AS pace
WHERE tally.counted_at IS NULL OR tally.counted_at + pace.every < clock_timestamp()
ORDER BY tally.counted_at + pace.every NULLS FIRST
LIMIT 1 FOR UPDATE OF tally SKIP LOCKED
"""


def count_results(campaign: Campaign) -> Results:
    """Count everything now, and keep it for the pages."""
    start, results = time.monotonic(), Results(campaign, as_of=now())
    _count_messages(results)
    _count_speed(results)
    _count_clicks(results)
    _count_opens(results)
    _count_orders(results)
    results.unsubscribed = unsubscribe_events(campaign).count()
    counted = {
        "counted_at": results.as_of,
        "cost_ms": round(1000 * (time.monotonic() - start)),
        "figures": results.as_json(),
    }
    Tally.objects.update_or_create(campaign=campaign, defaults=counted)
    return results


def count_overdue() -> bool:
    """Count the campaign that is most overdue; False when none is. Workers beside each other take others."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_OPEN)
        cursor.execute(_OVERDUE)
        row = cursor.fetchone()
        if row:
            count_results(Campaign.objects.get(pk=row[0]))
    return row is not None


def _count_messages(results: Results) -> None:
    by_channel: dict[str, ChannelFigures] = {}
    params = {"campaign": results.campaign.pk}
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, params)
        for channel, status, reason, count, due, due_now, parts, currency, micros in cursor.fetchall():
            figures = by_channel.setdefault(channel, ChannelFigures(channel))
            figures.groups[GROUP_OF[status]] += count
            if status == Message.Status.SUPPRESSED:
                _add(figures.reasons, reason, count)
            elif status in (Message.Status.BOUNCED, Message.Status.FAILED):
                _add(figures.lost_reasons, reason, count)
            figures.parts += parts
            if currency:
                _add(figures.cost, currency, micros)
            results.due_now += due_now
            if due and (results.next_due is None or due < results.next_due):
                results.next_due = due
        cursor.execute(_PEOPLE, params)
        results.people, results.people_reached = cursor.fetchone()
    results.channels = [by_channel[channel] for channel in sorted(by_channel)]


def _add(sums: dict[str, int], key: str, more: int) -> None:
    sums[key] = sums.get(key, 0) + more


def _count_clicks(results: Results) -> None:
    by_people = Q(is_machine=False)
    clicks = Click.objects.filter(link__campaign=results.campaign)
    people = Count("message", distinct=True, filter=by_people)
    figures = {channel.channel: channel for channel in results.channels}
    for row in clicks.values("message__channel").annotate(
        people=people, human=Count("pk", filter=by_people), machine=Count("pk", filter=~by_people)
    ):
        results.clicks += row["human"]
        results.machine_clicks += row["machine"]
        figures[row["message__channel"]].clickers = row["people"]
    results.clickers = clicks.filter(by_people).aggregate(people=Count("message__customer", distinct=True))[
        "people"
    ]
    results.links = [
        LinkFigures(row["url"], row["people"], row["human"], row["machine"])
        for row in results.campaign.links.values("url")
        .annotate(
            people=Count("clicks__message", distinct=True, filter=Q(clicks__is_machine=False)),
            human=Count("clicks", filter=Q(clicks__is_machine=False)),
            machine=Count("clicks", filter=Q(clicks__is_machine=True)),
        )
        .order_by("-people", "url")
    ]


def _count_opens(results: Results) -> None:
    by_people = Q(is_machine=False)
    counts = Open.objects.filter(message__campaign=results.campaign).aggregate(
        people=Count("message__customer", distinct=True, filter=by_people),
        machines=Count("pk", filter=~by_people),
    )
    results.openers, results.machine_opens = counts["people"], counts["machines"]


def _count_orders(results: Results) -> None:
    figures = {channel.channel: channel for channel in results.channels}
    rows = (
        Conversion.objects.filter(campaign=results.campaign)
        .values("message__channel", "currency")
        .annotate(orders=Count("pk"), revenue=Sum("revenue_minor"))
    )
    for row in rows:
        results.orders += row["orders"]
        figures[row["message__channel"]].orders += row["orders"]
        if row["currency"]:
            results.revenue[row["currency"]] = results.revenue.get(row["currency"], 0) + row["revenue"]


def _count_speed(results: Results) -> None:
    """How many left per minute, hour or day of the house's clock."""
    campaign = results.campaign
    results.speed_unit = _unit(campaign)
    zone = get_current_timezone_name()
    params: dict[str, Any] = {"campaign": campaign.pk, "unit": results.speed_unit, "zone": zone}
    with connection.cursor() as cursor:
        cursor.execute(_SPEED, params)
        results.speed = [Left(*row) for row in cursor.fetchall()]


def _unit(campaign: Campaign) -> str:
    lasted = (campaign.finished_at or now()) - (campaign.planned_at or now())
    if lasted <= timedelta(minutes=MAX_BARS):
        return "minute"
    return "hour" if lasted <= timedelta(hours=MAX_BARS) else "day"
