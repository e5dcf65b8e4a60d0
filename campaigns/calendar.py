"""What goes out when, to how many, and what each day asks of people: the figures of the calendar.

Read from what is kept by occurrence and day, so a month costs the same after a million messages as after
none.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING

from django.db.models import Prefetch, Q
from django.utils.timezone import localdate, localtime

from customers.models import Channel

from .models import Campaign, CampaignDay, Content, DayPressure, Occurrence
from .occurrences import start_of, wall_time_of, walls_after
from .pressure import WEEKLY_CAP

if TYPE_CHECKING:
    from core.models import User

WEEK = timedelta(days=7)
S = Campaign.Status


@dataclass(frozen=True)
class Entry:
    """One campaign on one day. `count` is sent of a day that is over, else planned or expected; `state` is
    sent, sending, coming, approval, draft, paused or skipped.
    """

    campaign: Campaign
    state: str
    channels: tuple[str, ...]
    at: time | None = None
    count: int | None = None
    planned: int | None = None
    remark: str = ""

    @property
    def channel(self) -> str:
        """The one that gives the entry its colour."""
        return self.channels[0] if self.channels else ""

    @property
    def named_channels(self) -> list[tuple[str, str]]:
        return [(channel, str(Channel(channel).label)) for channel in self.channels]


@dataclass
class Day:
    """A day with its campaigns, the earliest first, and what it asks of people once that was measured."""

    date: date
    is_inside: bool
    entries: list[Entry] = field(default_factory=list)
    pressure: DayPressure | None = None

    @property
    def is_today(self) -> bool:
        return self.date == localdate()

    @property
    def is_past(self) -> bool:
        return self.date < localdate()

    @property
    def sent(self) -> int:
        return sum(entry.count or 0 for entry in self.entries if entry.state in ("sent", "sending"))

    @property
    def per_person(self) -> float | None:
        """Messages for each person we may reach."""
        if not self.pressure or not self.pressure.reachable or not self.pressure.messages:
            return None
        return self.pressure.messages / self.pressure.reachable

    @property
    def load(self) -> float:
        """How much of what people should get on an average day this one asks, 1 at most."""
        return min(1, 7 * (self.per_person or 0) / WEEKLY_CAP)

    @property
    def extra(self) -> int:
        """Messages to people who get another one on the same day."""
        return self.pressure.messages - self.pressure.people if self.pressure else 0


@dataclass
class Page:
    """The days from a Monday to a Sunday; `measured_at` is how fresh the pressure is."""

    days: list[Day]
    measured_at: datetime | None = None

    @property
    def weeks(self) -> list[list[Day]]:
        return [self.days[start : start + 7] for start in range(0, len(self.days), 7)]

    @property
    def is_empty(self) -> bool:
        return not any(day.entries for day in self.days)

    @property
    def crowded(self) -> list[Day]:
        """The days from today on which somebody gets more than their week should hold."""
        return [day for day in self.days if day.pressure and day.pressure.over_cap and not day.is_past]

    @property
    def cap(self) -> int:
        return WEEKLY_CAP


def month_around(day: date) -> tuple[date, date]:
    """The Monday and the Sunday between which a page shows the month of a day."""
    first = day.replace(day=1)
    last = (first + timedelta(days=32)).replace(day=1) - timedelta(days=1)
    return week_around(first)[0], week_around(last)[1]


def week_around(day: date) -> tuple[date, date]:
    """The Monday and the Sunday of the week of a day."""
    monday = day - timedelta(days=day.weekday())
    return monday, monday + timedelta(days=6)


def page_of(user: "User", first: date, last: date, *, month: int | None = None) -> Page:
    """The calendar from one day to another; days of another month than `month` are outside. Five queries."""
    days = {
        day: Day(day, month in (None, day.month))
        for day in (first + timedelta(days=n) for n in range((last - first).days + 1))
    }
    campaigns = _campaigns(user, first, last)
    for day, entry in (*_launched(campaigns, first, last), *_to_come(campaigns, first, last)):
        if day in days:
            days[day].entries.append(entry)
    for each in days.values():
        each.entries.sort(key=lambda entry: (entry.at or time(), entry.campaign.pk))
    page = Page(list(days.values()))
    for row in DayPressure.objects.filter(day__range=(first, last)):
        days[row.day].pressure = row
        page.measured_at = max(page.measured_at or row.measured_at, row.measured_at)
    return page


def _campaigns(user: "User", first: date, last: date) -> dict[int, Campaign]:
    """The campaigns with something on these days, or that may have: with channels, brand and crontab."""
    margin = timedelta(days=1)  # A day of ours is parts of two elsewhere.
    kept = CampaignDay.objects.filter(day__range=(first, last)).values("campaign")
    occurring = Occurrence.objects.filter(
        Q(state=Occurrence.State.PENDING) | Q(local_date__range=(first - margin, last + margin))
    ).values("campaign")
    drafts = Q(status=S.DRAFT) & (
        Q(send_at__date__range=(first, last)) | Q(wall_date__range=(first, last), crontab=None)
    )
    found = Campaign.objects.visible_to(user).filter(Q(pk__in=kept) | Q(pk__in=occurring) | drafts)
    contents = Content.objects.order_by("channel").only("campaign", "channel")
    found = found.select_related("brand", "crontab").prefetch_related(Prefetch("contents", contents))
    return {campaign.pk: campaign for campaign in found}


def _launched(campaigns: dict[int, Campaign], first: date, last: date) -> Iterator[tuple[date, Entry]]:
    """What went out and what waits for its hour, as kept by occurrence and day."""
    rows: dict[tuple[int, int, date], list[CampaignDay]] = defaultdict(list)
    for row in CampaignDay.objects.filter(day__range=(first, last), campaign__in=campaigns).order_by(
        "channel"
    ):
        rows[row.campaign_id, row.occurrence, row.day].append(row)
    over = Occurrence.objects.filter(campaign__in=campaigns).exclude(state=Occurrence.State.PENDING)
    occurrences = {
        (row.campaign_id, row.number): row
        for row in over.filter(local_date__range=(first - timedelta(days=1), last + timedelta(days=1)))
    }
    for (campaign_id, number, day), channels in rows.items():
        campaign, occurrence = campaigns[campaign_id], occurrences.get((campaign_id, number))
        sent, planned = sum(row.sent for row in channels), sum(row.planned for row in channels)
        if not sent and (day < localdate() or campaign.status == S.CANCELLED):
            continue  # What was meant for this day went on another, or not at all.
        is_open = day >= localdate() and campaign.status in (S.SENDING, S.PAUSED)
        state = ("paused" if campaign.status == S.PAUSED else "sending") if is_open else "sent"
        yield (
            day,
            Entry(
                campaign,
                state,
                tuple(row.channel for row in channels),
                occurrence.local_time if occurrence else None,
                sent,
                max(planned, sent) if is_open else None,
            ),
        )
    for (campaign_id, _number), missed in occurrences.items():
        if missed.state == Occurrence.State.SKIPPED:
            campaign = campaigns[campaign_id]
            yield (
                missed.local_date,
                Entry(
                    campaign,
                    "skipped",
                    channels_of(campaign),
                    missed.local_time,
                    remark=missed.get_reason_display(),
                ),
            )


def _to_come(campaigns: dict[int, Campaign], first: date, last: date) -> Iterator[tuple[date, Entry]]:
    """What is scheduled, each time of a series, and drafts that have an hour."""
    pending = Occurrence.objects.filter(campaign__in=campaigns, state=Occurrence.State.PENDING)
    for row in pending.order_by("pk"):
        campaign = campaigns[row.campaign_id]
        state = {S.APPROVAL: "approval", S.PAUSED: "paused"}.get(S(campaign.status), "coming")
        for wall in _walls(campaign, wall_time_of(row), first, last):
            day, at = _place(campaign, wall)
            yield day, Entry(campaign, state, channels_of(campaign), at, row.messages)
    for campaign in campaigns.values():
        if campaign.status == S.DRAFT and campaign.crontab is None:
            yield from _draft(campaign)


def _walls(campaign: Campaign, pending: datetime, first: date, last: date) -> Iterator[datetime]:
    """The wall times from the pending one on that fall between two days, a day more at either end."""
    yield pending
    begin = datetime.combine(first - timedelta(days=1), time())
    for wall in walls_after(campaign, max(pending, begin)):
        if wall.date() > last + timedelta(days=1):
            return
        yield wall


def _place(campaign: Campaign, wall: datetime) -> tuple[date, time | None]:
    """The day and the hour at which the calendar shows a wall time: the house's for one moment."""
    if campaign.clock == Campaign.Clock.MOMENT:
        local = localtime(start_of(campaign, wall))
        return local.date(), local.time()
    return wall.date(), None if campaign.clock == Campaign.Clock.BEST else wall.time()


def _draft(campaign: Campaign) -> Iterator[tuple[date, Entry]]:
    if campaign.clock != Campaign.Clock.MOMENT:
        if campaign.wall_date:
            yield campaign.wall_date, Entry(campaign, "draft", channels_of(campaign), campaign.wall_time)
    elif campaign.send_at:
        local = localtime(campaign.send_at)
        yield local.date(), Entry(campaign, "draft", channels_of(campaign), local.time())


def channels_of(campaign: Campaign) -> tuple[str, ...]:
    """The channels of a campaign whose contents are loaded, each once."""
    return tuple(dict.fromkeys(content.channel for content in campaign.contents.all()))
