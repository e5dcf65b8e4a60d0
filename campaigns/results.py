"""The figures of campaigns: a few set-based questions each, whatever their size."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from babel.numbers import get_currency_precision
from django.db import connection
from django.db.models import Count, Q, QuerySet, Sum
from django.utils.functional import Promise
from django.utils.timezone import get_current_timezone_name, now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from core.templatetags.ui import money
from customers import events
from customers.models import Channel, Event

from .models import Campaign, Click, Conversion, Message, MessageQuerySet

# A campaign's audience is the sum of these, always; each is a filter of the list of people behind it.
GROUPS: dict[str, tuple[str, ...]] = {
    "sent": ("sent",),
    "delivered": ("delivered",),
    "bounced": ("bounced",),
    "failed": ("failed",),
    "unknown": ("unknown",),
    "waiting": ("planned", "leased", "sending"),
    "held": ("suppressed",),
}
# What the list of people can be narrowed to: the groups of the equation, and what followed.
LABELS: dict[str, str | Promise] = {
    "sent": pgettext_lazy("message", "Sent"),
    "delivered": pgettext_lazy("message", "Delivered"),
    "bounced": pgettext_lazy("message", "Bounced"),
    "failed": pgettext_lazy("message", "Failed"),
    "unknown": pgettext_lazy("message", "Unknown"),
    "waiting": pgettext_lazy("message", "Waiting"),
    "held": pgettext_lazy("message", "Held back"),
    "clicked": _("Clicked"),
    "ordered": _("Ordered"),
    "unsubscribed": _("Unsubscribed"),
}
_TONES = {
    "sent": "ok",
    "delivered": "ok",
    "bounced": "bad",
    "failed": "bad",
    "unknown": "warn",
    "waiting": "accent",
    "held": "",
}
_GROUP_OF = {status: group for group, statuses in GROUPS.items() for status in statuses}
ABOUT_TO_LEAVE = timedelta(minutes=1)
STOP_POLLING_AFTER = timedelta(minutes=5)
MAX_BARS = 90

# Uses the index of message_once, which begins with the campaign.
_COUNTS = """
SELECT channel, status, reason, count(*), min(due_at) FILTER (WHERE status = 'planned' AND due_at > now()),
       count(*) FILTER (WHERE status IN ('leased', 'sending') OR status = 'planned' AND due_at <= now())
FROM campaigns_message WHERE campaign_id = %(campaign)s GROUP BY channel, status, reason
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

_LISTED = """
SELECT campaign_id, count(*), count(*) FILTER (WHERE status IN ('sent', 'delivered'))
FROM campaigns_message WHERE campaign_id = ANY(%(ids)s) GROUP BY campaign_id
"""


@dataclass(frozen=True)
class Share:
    """A part of a whole as the page shows it."""

    key: str
    label: str | Promise
    count: int
    whole: int
    tone: str = ""

    @property
    def share(self) -> float | None:
        return self.count / self.whole if self.whole else None

    @property
    def meter(self) -> float:
        return 100 * (self.share or 0)


@dataclass
class ChannelFigures:
    """One channel of a campaign: its messages by group and what followed them."""

    channel: str
    groups: dict[str, int] = field(default_factory=lambda: dict.fromkeys(GROUPS, 0))
    reasons: dict[str, int] = field(default_factory=dict)  # Of what was held back.
    clickers: int = 0
    orders: int = 0

    @property
    def label(self) -> str | Promise:
        return Channel(self.channel).label

    @property
    def audience(self) -> int:
        return sum(self.groups.values())

    @property
    def held(self) -> list[Share]:
        """The held back by reason, most frequent first."""
        whole = self.groups["held"]
        rows = [Share(key, Message.Reason(key).label, n, whole) for key, n in self.reasons.items()]
        return sorted(rows, key=lambda row: (-row.count, row.key))

    @property
    def arrived(self) -> int:
        """Accepted by the receiver's side, as far as anybody knows."""
        return self.groups["sent"] + self.groups["delivered"]

    @property
    def click_rate(self) -> float | None:
        return self.clickers / self.arrived if self.arrived else None


@dataclass(frozen=True)
class LinkFigures:
    url: str
    clickers: int
    clicks: int
    machine_clicks: int


@dataclass
class Results:
    """A campaign's figures at one moment. `revenue` maps a currency to minor units."""

    campaign: Campaign
    as_of: datetime
    channels: list[ChannelFigures] = field(default_factory=list)
    people: int = 0
    people_reached: int = 0
    next_due: datetime | None = None
    due_now: int = 0  # Waiting, and not for a later hour.
    clickers: int = 0
    clicks: int = 0
    machine_clicks: int = 0
    links: list[LinkFigures] = field(default_factory=list)
    unsubscribed: int = 0
    orders: int = 0
    revenue: dict[str, int] = field(default_factory=dict)

    @property
    def audience(self) -> int:
        """Messages planned: one per person and channel."""
        return sum(channel.audience for channel in self.channels)

    @property
    def groups(self) -> dict[str, int]:
        return {group: sum(channel.groups[group] for channel in self.channels) for group in GROUPS}

    @property
    def equation(self) -> list[Share]:
        """The parts that add up to the audience."""
        counts = self.groups
        return [Share(key, LABELS[key], counts[key], self.audience, _TONES[key]) for key in GROUPS]

    @property
    def arrived(self) -> int:
        return sum(channel.arrived for channel in self.channels)

    @property
    def left(self) -> int:
        """Messages whose sending is over, whatever became of them."""
        return self.audience - self.groups["waiting"]

    @property
    def progress(self) -> float:
        return 100 * self.left / self.audience if self.audience else 0

    @property
    def click_rate(self) -> float | None:
        """Of the people it reached on any channel, how many followed a link."""
        return self.clickers / self.people_reached if self.people_reached else None

    @property
    def unsubscribe_rate(self) -> float | None:
        return self.unsubscribed / self.arrived if self.arrived else None

    @property
    def main_currency(self) -> str:
        return max(self.revenue, key=lambda currency: self.revenue[currency], default="")

    @property
    def main_revenue(self) -> int:
        return self.revenue.get(self.main_currency, 0)

    @property
    def other_revenue(self) -> str:
        """What was bought in further currencies, as text."""
        rest = [(c, minor) for c, minor in sorted(self.revenue.items()) if c != self.main_currency]
        return ", ".join(money(minor, currency) for currency, minor in rest)

    @property
    def goal_reached(self) -> int:
        """The goal's own figure: orders, people who clicked, or revenue in whole units of its currency."""
        if self.campaign.goal == Campaign.Goal.ORDERS:
            return self.orders
        if self.campaign.goal == Campaign.Goal.CLICKS:
            return self.clickers
        minor = self.main_revenue
        return int(minor // 10 ** get_currency_precision(self.main_currency)) if minor else 0

    @property
    def goal_share(self) -> float | None:
        target = self.campaign.goal_target
        return self.goal_reached / target if target else None

    @property
    def goal_meter(self) -> float:
        """The same share as a width, never wider than the bar."""
        return min(100.0, 100 * (self.goal_share or 0))


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
    """All figures of a campaign, now. Seven queries."""
    results = Results(campaign, as_of=now())
    _count_messages(results)
    _count_clicks(results)
    _count_orders(results)
    results.unsubscribed = unsubscribe_events(campaign).count()
    return results


def _count_messages(results: Results) -> None:
    by_channel: dict[str, ChannelFigures] = {}
    params = {"campaign": results.campaign.pk}
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, params)
        for channel, status, reason, count, due, due_now in cursor.fetchall():
            figures = by_channel.setdefault(channel, ChannelFigures(channel))
            figures.groups[_GROUP_OF[status]] += count
            if status == Message.Status.SUPPRESSED:
                figures.reasons[reason] = count
            results.due_now += due_now
            if due and (results.next_due is None or due < results.next_due):
                results.next_due = due
        cursor.execute(_PEOPLE, params)
        results.people, results.people_reached = cursor.fetchone()
    results.channels = [by_channel[channel] for channel in sorted(by_channel)]


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


def unsubscribe_events(campaign: Campaign) -> QuerySet[Event]:
    """Who left through a message of this campaign. Uses event_name_time."""
    return Event.objects.filter(
        name=events.MESSAGE_UNSUBSCRIBED,
        occurred_at__gte=campaign.planned_at or campaign.created_at,
        properties__campaign=campaign.pk,
    )


def speed_of(campaign: Campaign) -> dict[str, Any]:
    """How many messages left per minute, hour or day, ready for a chart; no labels when none left yet."""
    unit = _unit(campaign)
    params: dict[str, Any] = {"campaign": campaign.pk, "unit": unit, "zone": get_current_timezone_name()}
    with connection.cursor() as cursor:
        cursor.execute(_SPEED, params)
        rows = cursor.fetchall()
    if not rows:
        return {"labels": [], "series": [], "unit_name": unit}
    step = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}[unit]
    buckets = [rows[0][0]]
    while buckets[-1] + step <= rows[-1][0] and len(buckets) < MAX_BARS:
        buckets.append(buckets[-1] + step)
    sent = {(bucket, channel): count for bucket, channel, count in rows}
    pattern = "%d/%m" if unit == "day" else "%H:%M"
    return {
        "labels": [bucket.strftime(pattern) for bucket in buckets],
        "series": [
            {
                "name": str(Channel(channel).label),
                "color": channel,
                "values": [sent.get((at, channel), 0) for at in buckets],
            }
            for channel in sorted({channel for _, channel, _ in rows})
        ],
        "unit_name": unit,
    }


def _unit(campaign: Campaign) -> str:
    lasted = (campaign.finished_at or now()) - (campaign.planned_at or now())
    if lasted <= timedelta(minutes=MAX_BARS):
        return "minute"
    return "hour" if lasted <= timedelta(hours=MAX_BARS) else "day"


@dataclass
class Listed:
    """The figures of one row of the list of campaigns."""

    audience: int = 0
    arrived: int = 0
    clickers: int = 0
    orders: int = 0
    revenue: dict[str, int] = field(default_factory=dict)


def figures_for(campaigns: Iterable[Campaign]) -> dict[int, Listed]:
    """The list's figures by campaign id, in three queries whatever the number of rows."""
    ids = [campaign.pk for campaign in campaigns]
    found = {pk: Listed() for pk in ids}
    with connection.cursor() as cursor:
        cursor.execute(_LISTED, {"ids": ids})
        for pk, audience, arrived in cursor.fetchall():
            found[pk].audience, found[pk].arrived = audience, arrived
    clicks = Click.objects.filter(link__campaign__in=ids, is_machine=False)
    for pk, clickers in clicks.values_list("link__campaign").annotate(people=Count("message", distinct=True)):
        found[pk].clickers = clickers
    conversions = Conversion.objects.filter(campaign__in=ids).values_list("campaign", "currency")
    for pk, currency, orders, revenue in conversions.annotate(Count("pk"), Sum("revenue_minor")):
        found[pk].orders += orders
        if currency:
            found[pk].revenue[currency] = revenue
    return found


def behind(campaign: Campaign, *, group: str = "", channel: str = "", reason: str = "") -> MessageQuerySet:
    """The messages behind a figure: a group of GROUPS, or clicked, unsubscribed, ordered; '' is all."""
    messages: MessageQuerySet = Message.objects.filter(campaign=campaign)
    if channel:
        messages = messages.filter(channel=channel)
    if reason:
        messages = messages.filter(reason=reason)
    if group in GROUPS:
        messages = messages.filter(status__in=GROUPS[group])
    elif group == "clicked":
        messages = messages.filter(pk__in=Click.objects.filter(is_machine=False).values("message"))
    elif group == "ordered":
        messages = messages.filter(pk__in=Conversion.objects.filter(campaign=campaign).values("message"))
    elif group == "unsubscribed":
        left = [event.properties["message"] for event in unsubscribe_events(campaign)]
        messages = messages.filter(pk__in=left)
    return messages
