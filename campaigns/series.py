"""What came of each time a campaign went out: for the table on the page of a series."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.core.cache import cache
from django.db.models import Count, Sum

from .models import Campaign, CampaignDay, Click, Conversion, Occurrence
from .occurrences import wall_time_of
from .words import wall_words

SHOWN = 12
FRESH_SECONDS = 60  # How old the figures of followers may be; counting them reads every click.


@dataclass
class Time:
    """One occurrence, to come or over, with its figures once it was launched."""

    occurrence: Occurrence
    when: str
    sent: int = 0
    clicks: int = 0
    orders: int = 0

    @property
    def click_rate(self) -> float | None:
        return self.clicks / self.sent if self.sent else None


def times_of(campaign: Campaign) -> list[Time]:
    """The latest occurrences of a series, the next one first. At most four queries."""
    rows = campaign.occurrences.order_by("-number")[:SHOWN]
    with_time = campaign.clock != Campaign.Clock.BEST
    found = [Time(row, wall_words(wall_time_of(row), with_time=with_time)) for row in rows]
    launched = [time for time in found if time.occurrence.state == Occurrence.State.LAUNCHED]
    numbers = [time.occurrence.number for time in launched]
    if not numbers:
        return found
    sums = CampaignDay.objects.filter(campaign=campaign, occurrence__in=numbers).values_list("occurrence")
    sent = dict(sums.annotate(Sum("sent")))
    followers = _followers(campaign, numbers)
    for time in launched:
        number = time.occurrence.number
        time.sent = sent.get(number, 0)
        time.clicks, time.orders = followers.get(number, (0, 0))
    return found


def _followers(campaign: Campaign, numbers: Iterable[int]) -> dict[int, tuple[int, int]]:
    """By occurrence: messages somebody clicked in, and orders after them."""
    key = f"campaigns.series:{campaign.pk}:{max(numbers)}"
    found: dict[int, tuple[int, int]] | None = cache.get(key)
    if found is None:
        clicks = Click.objects.filter(link__campaign=campaign, is_machine=False)
        clicked = dict(clicks.values_list("message__occurrence").annotate(Count("message", distinct=True)))
        orders = Conversion.objects.filter(campaign=campaign).values_list("message__occurrence")
        bought = dict(orders.annotate(Count("pk")))
        found = {number: (clicked.get(number, 0), bought.get(number, 0)) for number in numbers}
        cache.set(key, found, FRESH_SECONDS)
    return found
