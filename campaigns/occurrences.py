"""Which times a campaign goes out, each exactly once: the rows of its schedule.

A scheduled campaign has one pending row, its next occurrence. Everything here runs while the campaign is
locked; the unique local day and hour is the second bolt.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import chain

from django.db.models import Max
from django.utils.timezone import now

from .models import Campaign, Occurrence
from .walls import EARLIEST, LATEST, Cron, instant_of, wall_of

# Planning comes this long before the first person's hour, so that it is over when the hour strikes.
HEAD_START = timedelta(minutes=15)


@dataclass(frozen=True)
class Span:
    """From the first person's own time to the last one's."""

    first: datetime
    last: datetime


def zone_of(campaign: Campaign) -> str:
    """The zone in which a campaign for one moment, and every series, reads its wall times."""
    return str(campaign.crontab.timezone) if campaign.crontab else campaign.brand.timezone


def span_of(campaign: Campaign, wall: datetime) -> Span:
    """When an occurrence reaches the first and the last clock it is read from, wherever people live."""
    if campaign.clock == Campaign.Clock.MOMENT:
        moment = instant_of(wall, zone_of(campaign)) if campaign.crontab else campaign.send_at or now()
        return Span(moment, moment)
    in_utc = wall.replace(tzinfo=UTC)
    if campaign.clock == Campaign.Clock.BEST:
        return Span(in_utc - EARLIEST, in_utc + timedelta(hours=23) + LATEST)
    return Span(in_utc - EARLIEST, in_utc + LATEST)


def start_of(campaign: Campaign, wall: datetime) -> datetime:
    """The instant people call an occurrence by: where clocks differ, the one in the brand's zone."""
    return instant_of(wall, zone_of(campaign))


def launch_at(campaign: Campaign, wall: datetime) -> datetime:
    """When an occurrence has to become messages."""
    head_start = timedelta() if campaign.clock == Campaign.Clock.MOMENT else HEAD_START
    return span_of(campaign, wall).first - head_start


def walls_after(campaign: Campaign, after: datetime) -> Iterator[datetime]:
    """The wall times of a series later than `after`, in order; nothing for a campaign that goes out once."""
    if campaign.crontab is None:
        return iter(())
    if campaign.wall_date:  # It may begin only on this day.
        after = max(after, datetime.combine(campaign.wall_date, time()) - timedelta(microseconds=1))
    return Cron.of(campaign.crontab).walls(after, campaign.repeat_until)


def next_wall(campaign: Campaign, at: datetime) -> datetime | None:
    """The wall time a campaign goes out next when it is scheduled at this instant; None when none is left.

    A series goes on after the last of its occurrences, so rescheduling repeats none.
    """
    if campaign.crontab is None:
        return _only_wall(campaign, at)
    after = wall_of(at, zone_of(campaign))
    if last := campaign.occurrences.exclude(state=Occurrence.State.PENDING).order_by("-number").first():
        after = max(after, wall_time_of(last))
    return next(walls_after(campaign, after), None)


def _only_wall(campaign: Campaign, at: datetime) -> datetime | None:
    if campaign.clock == Campaign.Clock.MOMENT:
        return wall_of(campaign.send_at or at, zone_of(campaign))
    if campaign.wall_date is None:
        return None
    wall = datetime.combine(campaign.wall_date, campaign.wall_time or time())
    return None if is_too_late(campaign, wall, at) else wall


def is_too_late(campaign: Campaign, wall: datetime, at: datetime) -> bool:
    """Whether nobody at all may get this occurrence any more."""
    return span_of(campaign, wall).last + timedelta(hours=campaign.expire_hours) <= at


def wall_time_of(occurrence: Occurrence) -> datetime:
    """The wall time an occurrence stands for."""
    return datetime.combine(occurrence.local_date, occurrence.local_time)


def put_pending(campaign: Campaign, wall: datetime | None, *, messages: int = 0) -> Occurrence | None:
    """Make this the next occurrence of a campaign, instead of the one that was; None leaves it without."""
    campaign.occurrences.filter(state=Occurrence.State.PENDING).delete()
    if wall is None:
        return None
    last = campaign.occurrences.aggregate(last=Max("number"))["last"]
    return Occurrence.objects.create(
        campaign=campaign,
        number=0 if last is None else last + 1,
        local_date=wall.date(),
        local_time=wall.time(),
        launch_at=launch_at(campaign, wall),
        messages=messages,
    )


def take_due(campaign: Campaign, at: datetime) -> Occurrence | None:
    """The occurrence to launch now, with what came due before it recorded as left out; None when none is.

    A series that was kept from launching makes up for one at most: what is late for everybody is left out
    when a later occurrence has begun as well, and whatever nobody may get any more is left out too.
    """
    pending = campaign.occurrences.filter(state=Occurrence.State.PENDING, launch_at__lte=at).first()
    if pending is None or campaign.crontab is None:
        return pending
    wall = wall_time_of(pending)
    for following in chain(walls_after(campaign, wall), [None]):
        reason = _reason_to_skip(campaign, wall, following, at)
        if not reason:
            return pending
        pending.state, pending.reason = Occurrence.State.SKIPPED, reason
        pending.save(update_fields=["state", "reason"])
        pending = put_pending(campaign, following, messages=pending.messages)
        if following is None or pending is None or pending.launch_at > at:
            return None
        wall = following
    return None


def _reason_to_skip(campaign: Campaign, wall: datetime, following: datetime | None, at: datetime) -> str:
    """Why this occurrence is not launched now; empty when it is."""
    if is_too_late(campaign, wall, at):
        return Occurrence.Reason.EXPIRED
    is_late = span_of(campaign, wall).last < at
    if following and is_late and span_of(campaign, following).first <= at:
        return Occurrence.Reason.REPLACED
    return ""
