"""Reading what was counted: one row per campaign, whatever its size."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.utils.timezone import now

from customers.models import Channel

from ..models import Campaign, Tally
from .counting import count_results
from .figures import MAX_BARS, Results

ABOUT_TO_LEAVE = timedelta(minutes=1)
STOP_POLLING_AFTER = timedelta(minutes=5)
_STEPS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}


def poll_seconds(campaign: Campaign) -> int:
    """How soon to look again: often while it leaves, slower while reports come in, then never (0)."""
    due = campaign.send_at or now()
    is_leaving = campaign.status == Campaign.Status.SCHEDULED and due - now() < ABOUT_TO_LEAVE
    if is_leaving or campaign.status == Campaign.Status.SENDING:
        return 3
    if campaign.status in (Campaign.Status.SCHEDULED, Campaign.Status.PAUSED):
        return 10
    finished = campaign.finished_at
    return 10 if finished and now() - finished < STOP_POLLING_AFTER else 0


def results_of(campaign: Campaign) -> Results:
    """All figures of a campaign as last counted, and when. Who looks before the first count, counts."""
    return kept_results([campaign]).get(campaign.pk) or count_results(campaign)


def kept_results(campaigns: Iterable[Campaign]) -> dict[int, Results]:
    """By campaign id, the figures of those that were counted, in one query."""
    by_id = {campaign.pk: campaign for campaign in campaigns}
    return {
        tally.campaign_id: Results.kept(by_id[tally.campaign_id], tally.counted_at, tally.figures)
        for tally in Tally.objects.filter(campaign__in=by_id)
        if tally.counted_at
    }


def speed_of(results: Results) -> dict[str, Any]:
    """How many messages left per minute, hour or day, ready for a chart; no labels when none left yet."""
    unit, left = results.speed_unit, results.speed
    if not left:
        return {"labels": [], "series": [], "unit_name": unit}
    buckets = [left[0].begins]
    while buckets[-1] + _STEPS[unit] <= left[-1].begins and len(buckets) < MAX_BARS:
        buckets.append(buckets[-1] + _STEPS[unit])
    sent = {(bar.begins, bar.channel): bar.messages for bar in left}
    pattern = "%d/%m" if unit == "day" else "%H:%M"
    return {
        "labels": [bucket.strftime(pattern) for bucket in buckets],
        "series": [
            {
                "name": str(Channel(channel).label),
                "color": channel,
                "values": [sent.get((at, channel), 0) for at in buckets],
            }
            for channel in sorted({bar.channel for bar in left})
        ],
        "unit_name": unit,
    }


@dataclass
class Listed:
    """The figures of one row of the list of campaigns."""

    audience: int = 0
    arrived: int = 0
    clickers: int = 0
    orders: int = 0
    revenue: dict[str, int] = field(default_factory=dict)


def figures_for(campaigns: Iterable[Campaign]) -> dict[int, Listed]:
    """The list's figures by campaign id, as last counted, in one query; zeros before the first count."""
    campaigns = list(campaigns)
    found = {campaign.pk: Listed() for campaign in campaigns}
    for pk, results in kept_results(campaigns).items():
        found[pk] = Listed(
            results.audience, results.arrived, results.clickers, results.orders, results.revenue
        )
    return found
