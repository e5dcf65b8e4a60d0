"""What is known of a campaign's outcome, and what follows from it by arithmetic."""

from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Self

from babel.numbers import get_currency_precision
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from core.templatetags.ui import money, money_micros
from customers.models import Channel

from ..models import Campaign, Message

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
    "lost": _("Came back or failed"),
    "opened": _("Opened"),
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
GROUP_OF = {status: group for group, statuses in GROUPS.items() for status in statuses}
MAX_BARS = 90


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
    lost_reasons: dict[str, int] = field(default_factory=dict)  # Of what came back or failed.
    parts: int = 0  # Text messages the provider sent for ours, as far as it told.
    cost: dict[str, int] = field(default_factory=dict)  # Currency to millionths of a unit.
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
        return _by_reason(self.reasons, self.groups["held"])

    @property
    def lost(self) -> list[Share]:
        """What came back or failed, by reason, most frequent first."""
        return _by_reason(self.lost_reasons, self.lost_count)

    @property
    def lost_count(self) -> int:
        return self.groups["bounced"] + self.groups["failed"]

    @property
    def cost_text(self) -> str:
        """What it cost, each currency for itself; empty while nothing is known."""
        return ", ".join(money_micros(micros, currency) for currency, micros in sorted(self.cost.items()))

    @property
    def arrived(self) -> int:
        """Accepted by the receiver's side, as far as anybody knows."""
        return self.groups["sent"] + self.groups["delivered"]

    @property
    def click_rate(self) -> float | None:
        return self.clickers / self.arrived if self.arrived else None


def _by_reason(reasons: dict[str, int], whole: int) -> list[Share]:
    labels = dict(Message.Reason.choices) | {"": _("No reason was given")}
    rows = [Share(key, labels.get(key, key), count, whole) for key, count in reasons.items()]
    return sorted(rows, key=lambda row: (-row.count, row.key))


@dataclass(frozen=True)
class LinkFigures:
    url: str
    clickers: int
    clicks: int
    machine_clicks: int


@dataclass(frozen=True)
class Left:
    """How many messages of a channel left in one minute, hour or day."""

    begins: datetime
    channel: str
    messages: int


@dataclass
class Results:
    """A campaign's figures when they were counted. `revenue` maps a currency to minor units."""

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
    openers: int = 0  # Of those who agree to open tracking.
    machine_opens: int = 0  # Mails that machines opened, whether or not a person did too.
    links: list[LinkFigures] = field(default_factory=list)
    unsubscribed: int = 0
    orders: int = 0
    revenue: dict[str, int] = field(default_factory=dict)
    speed_unit: str = "minute"
    speed: list[Left] = field(default_factory=list)

    @classmethod
    def kept(cls, campaign: Campaign, as_of: datetime, figures: dict[str, Any]) -> Self:
        """Read back what `as_json` wrote."""
        found = cls(campaign, as_of, **figures)
        found.channels = [ChannelFigures(**channel) for channel in figures["channels"]]
        for channel in found.channels:  # The database keeps no order of keys; the page's columns have one.
            channel.groups = {group: channel.groups[group] for group in GROUPS}
        found.links = [LinkFigures(**link) for link in figures["links"]]
        found.speed = [
            Left(datetime.fromisoformat(begins), channel, messages)
            for begins, channel, messages in figures["speed"]
        ]
        if figures["next_due"]:
            found.next_due = datetime.fromisoformat(figures["next_due"])
        return found

    def as_json(self) -> dict[str, Any]:
        """Everything but whose figures they are and when they were counted."""
        figures = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("campaign", "as_of")}
        return figures | {
            "channels": [asdict(channel) for channel in self.channels],
            "links": [asdict(link) for link in self.links],
            "speed": [(left.begins.isoformat(), left.channel, left.messages) for left in self.speed],
            "next_due": self.next_due.isoformat() if self.next_due else None,
        }

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
