"""The campaigns of the home page: what went out lately, what comes next, what has to be looked at."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import F, OuterRef, Sum
from django.db.models.functions import Coalesce

from campaigns.models import Campaign, Content
from campaigns.results import Results, count_results, kept_results
from segments.models import Segment

if TYPE_CHECKING:
    from core.models import User

RECENT = 6
COMING = 6
DRAFT_DAYS = 3  # How soon a draft's hour must be to be a worry.
DRAFT_MEMORY_DAYS = 14  # How long a missed hour stays one.


@dataclass(frozen=True)
class Launched:
    """A campaign that has begun, and what came of it. Revenue in minor units of one currency."""

    pk: int
    name: str
    status: str
    send_at: datetime
    planned_at: datetime
    channels: list[str]
    audience: int
    arrived: int
    bounced: int
    failed: int
    unknown: int
    waiting: int
    clickers: int
    orders: int
    revenue: int

    @property
    def click_rate(self) -> float | None:
        return self.clickers / self.arrived if self.arrived else None

    @property
    def bounce_rate(self) -> float:
        """Of what reached a server or network, how much came back."""
        gone = self.arrived + self.bounced
        return self.bounced / gone if gone else 0.0

    def get_status_display(self) -> str:
        return str(Campaign.Status(self.status).label)


def launched(currency: str, *, limit: int = RECENT) -> list[Launched]:
    """The latest campaigns that have begun, as last counted, in two queries."""
    campaigns = Campaign.objects.exclude(planned_at=None).order_by("-planned_at", "-pk")[:limit]
    kept = kept_results(campaigns)
    return [_launched(kept.get(campaign.pk) or count_results(campaign), currency) for campaign in campaigns]


def _launched(results: Results, currency: str) -> Launched:
    campaign, groups = results.campaign, results.groups
    assert campaign.send_at is not None
    assert campaign.planned_at is not None
    return Launched(
        pk=campaign.pk,
        name=campaign.name,
        status=campaign.status,
        send_at=campaign.send_at,
        planned_at=campaign.planned_at,
        channels=[channel.channel for channel in results.channels],
        audience=results.audience,
        arrived=results.arrived,
        bounced=groups["bounced"],
        failed=groups["failed"],
        unknown=groups["unknown"],
        waiting=groups["waiting"],
        clickers=results.clickers,
        orders=results.orders,
        revenue=results.revenue.get(currency, 0),
    )


def coming(user: "User", now: datetime) -> list[Any]:
    """Campaigns with an hour ahead of them, and drafts whose hour has just passed, the soonest first.

    Each has `channels`, `segments` (names) and `people`: how many its segments counted, all together.
    One query.
    """
    including = Segment.objects.filter(campaigns_including=OuterRef("pk")).order_by("name")
    contents = Content.objects.filter(campaign=OuterRef("pk")).order_by("channel").values("channel")
    people = including.order_by().values("campaigns_including").annotate(people=Sum("match_count"))
    waiting = [Campaign.Status.DRAFT, Campaign.Status.APPROVAL, Campaign.Status.SCHEDULED]
    found = (
        Campaign.objects.visible_to(user)
        .filter(status__in=waiting, send_at__gte=now - timedelta(days=DRAFT_MEMORY_DAYS))
        .select_related("requested_by")
        .annotate(
            channels=ArraySubquery(contents.distinct()),
            segments=ArraySubquery(including.values("name")),
            people=Coalesce(people.values("people"), None),
        )
        .order_by(F("send_at").asc(), "pk")
    )
    return list(found[: 4 * COMING])


def next_sends(campaigns: Iterable[Any], now: datetime) -> list[Any]:
    """Those of `coming` that lie ahead or wait for somebody to let them go."""
    ahead = [c for c in campaigns if c.send_at > now or c.status != Campaign.Status.DRAFT]
    return ahead[:COMING]
