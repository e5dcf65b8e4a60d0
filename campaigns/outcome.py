"""What a campaign changed: those it was for against those held out of it by lot.

Everybody who was assigned counts with their own side, whether or not a message reached them (intention to
treat): from the time their message was, or would have been, due and for the goal's days. The sides differ by
the lot alone, so what differs between them is the campaign's doing, or chance. How likely chance is:

- Buyers: the difference of two proportions, its 95 % interval by Newcombe's hybrid score (Newcombe 1998,
  method 10), the p-value by the score test of Miettinen and Nurminen.
- Revenue per person: the difference of two means over everybody, those who bought nothing included, its 95 %
  interval by Welch. What people spend has a heavy tail, and the mean of few buyers is no normal variable:
  with fewer than BUYERS_FOR_REVENUE on either side no interval is given.
- What could have been seen: the smallest difference in buyers that groups of these sizes tell from chance
  four times of five (power 80 %, 5 % two-sided; Cohen 1988, ch. 6).
"""

import math
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from django.db import connection, transaction
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from core.templatetags.ui import money_whole, num
from customers import events

from .models import Campaign, Outcome

CONFIDENCE, POWER = 0.95, 0.80
BUYERS_FOR_REVENUE = 30

# Who was held back when planning, before the lot was drawn, was not assigned; who was held back later was.
# One row per side: people, buyers, orders, then of one person's revenue in the orders' usual currency the sum
# and the sum of squares; uses the index of message_once and event_timeline or event_name_time.
_SIDES = """
WITH assigned AS (
    SELECT customer_id, bool_or(reason = 'holdout') AS is_held_out,
           min(COALESCE(scheduled_for, due_at)) AS begins_at
    FROM campaigns_message
    WHERE campaign_id = %(campaign)s
      AND NOT (status = 'suppressed' AND settled_at = planned_at AND reason NOT IN ('holdout', 'pressure'))
    GROUP BY customer_id, occurrence
),
bought AS MATERIALIZED (
    SELECT DISTINCT ON (event.id) event.id, event.customer_id, event.properties ->> 'currency' AS currency,
           COALESCE((event.properties ->> 'total_minor')::bigint, 0) AS revenue
    FROM assigned
    JOIN customers_event AS event ON event.customer_id = assigned.customer_id AND event.name = %(bought)s
        AND event.occurred_at >= assigned.begins_at
        AND event.occurred_at < assigned.begins_at + make_interval(days => %(days)s)
    WHERE event.occurred_at <= %(at)s
),
usual(currency) AS (SELECT mode() WITHIN GROUP (ORDER BY currency) FROM bought),
person AS (
    SELECT bool_or(is_held_out) AS is_held_out, sum(orders) AS orders, sum(revenue) AS revenue
    FROM (
        SELECT customer_id, is_held_out, 0 AS orders, 0 AS revenue FROM assigned
        UNION ALL
        SELECT customer_id, false, 1,
               CASE WHEN currency = (SELECT currency FROM usual) THEN revenue ELSE 0 END
        FROM bought
    ) AS told GROUP BY customer_id
)
SELECT is_held_out, count(*), count(*) FILTER (WHERE orders > 0), COALESCE(sum(orders), 0)::bigint,
       COALESCE(sum(revenue), 0)::bigint, COALESCE(sum(revenue::float8 ^ 2), 0),
       COALESCE((SELECT currency FROM usual), '')
FROM person GROUP BY is_held_out
"""

# The comparison that is most overdue: while people may still buy every ten minutes, then daily for orders
# that come late. What it costs takes up a twentieth of the time at most.
_OVERDUE = """
SELECT campaign.id FROM campaigns_campaign AS campaign
JOIN campaigns_tally AS tally ON tally.campaign_id = campaign.id  -- Locked in place of the campaign.
LEFT JOIN campaigns_outcome AS outcome ON outcome.campaign_id = campaign.id
CROSS JOIN LATERAL (SELECT COALESCE(campaign.finished_at, now()) + make_interval(days => campaign.goal_days))
    AS goal(ends_at)
WHERE campaign.planned_at IS NOT NULL AND campaign.holdout_percent > 0
  AND now() < goal.ends_at + interval '60 days'
  AND (outcome.counted_at IS NULL OR outcome.counted_at < clock_timestamp() - greatest(
      make_interval(secs => outcome.cost_ms * 20 / 1000.0),
      CASE WHEN now() < goal.ends_at + interval '1 day' THEN interval '10 minutes' ELSE interval '1 day' END))
ORDER BY outcome.counted_at NULLS FIRST, campaign.id
LIMIT 1 FOR UPDATE OF tally SKIP LOCKED
"""


@dataclass(frozen=True)
class Side:
    """Everybody on one side of the lot. Revenue in minor units of the orders' usual currency."""

    people: int = 0
    buyers: int = 0
    orders: int = 0
    revenue: int = 0
    revenue_squares: float = 0.0  # Of each person's revenue, summed.

    @property
    def rate(self) -> float:
        """Of all its people, how many bought: 0 to 1."""
        return self.buyers / self.people if self.people else 0.0

    @property
    def revenue_each(self) -> float:
        """What a person of this side spent on average, in minor units."""
        return self.revenue / self.people if self.people else 0.0

    @property
    def revenue_minor_each(self) -> int:
        return round(self.revenue_each)


@dataclass(frozen=True)
class Interval:
    """A difference and where it lies with 95 % confidence."""

    value: float
    low: float
    high: float

    @property
    def is_beyond_chance(self) -> bool:
        return self.low > 0 or self.high < 0

    def times(self, factor: float) -> "Interval":
        return Interval(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Comparison:
    """Both sides, and what may be said of their difference. Intervals are None where nothing may be said.

    `rate` is a difference of shares (0.01 is one point), `revenue` one of minor units per person, `visible`
    the smallest difference of shares these sizes could show.
    """

    treated: Side
    held_out: Side
    currency: str = ""
    rate: Interval | None = None
    p_value: float | None = None
    revenue: Interval | None = None
    visible: float | None = None

    @classmethod
    def of(cls, treated: Side, held_out: Side, currency: str = "") -> Self:
        """Compare two sides."""
        if min(treated.people, held_out.people) < 2:
            return cls(treated, held_out, currency)
        rate, p_value = difference_of_shares(treated, held_out)
        return cls(
            treated,
            held_out,
            currency,
            rate,
            p_value,
            difference_of_revenue(treated, held_out),
            smallest_visible(treated, held_out),
        )

    @classmethod
    def kept(cls, figures: dict[str, Any]) -> Self:
        """Read back what `as_json` wrote."""
        sides = {name: Side(**figures[name]) for name in ("treated", "held_out")}
        intervals = {
            name: Interval(**figures[name]) if figures[name] else None for name in ("rate", "revenue")
        }
        return cls(**figures | sides | intervals)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def more_buyers(self) -> Interval | None:
        """How many people bought who would not have, of all the campaign was for."""
        return self.rate.times(self.treated.people) if self.rate else None

    @property
    def more_revenue(self) -> Interval | None:
        """What the campaign brought that would not have come, in minor units."""
        return self.revenue.times(self.treated.people) if self.revenue else None


# --- counting -------------------------------------------------------------------------------------


def compare(campaign: Campaign, *, at: datetime | None = None) -> Comparison:
    """Compare the sides of a campaign's lot by what they bought until an instant."""
    params: dict[str, Any] = {
        "campaign": campaign.pk,
        "bought": events.ORDER_COMPLETED,
        "days": campaign.goal_days,
        "at": at or now(),
    }
    sides, currencies = {False: Side(), True: Side()}, {""}
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '256MB'")
        cursor.execute(_SIDES, params)
        for is_held_out, *figures, currency in cursor.fetchall():
            sides[is_held_out] = Side(*figures)
            currencies.add(currency)
    return Comparison.of(sides[False], sides[True], max(currencies))


def count_outcome(campaign: Campaign) -> Comparison:
    """Compare now, and keep it for the pages."""
    start = time.monotonic()
    with transaction.atomic():
        found = compare(campaign)
        counted = {
            "counted_at": now(),
            "cost_ms": round(1000 * (time.monotonic() - start)),
            "figures": found.as_json(),
        }
        Outcome.objects.update_or_create(campaign=campaign, defaults=counted)
    return found


def count_overdue() -> bool:
    """Compare the sides of the campaign that is most overdue; False when none is."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_OVERDUE)
        row = cursor.fetchone()
        if row:
            count_outcome(Campaign.objects.get(pk=row[0]))
    return row is not None


@dataclass(frozen=True)
class Shown:
    """A comparison in words, as the page shows it, and until when it may still change."""

    comparison: Comparison
    as_of: datetime
    ends_at: datetime

    @property
    def is_over(self) -> bool:
        return self.as_of >= self.ends_at

    @property
    def sides(self) -> list[tuple[str, Side]]:
        return [(_("Chosen to get it"), self.comparison.treated), (_("Held out"), self.comparison.held_out)]

    @property
    def verdict(self) -> str:
        """What may be said of the share of buyers, as a sentence."""
        rate = self.comparison.rate
        if rate is None:
            return _("There are too few people on one side to compare them.")
        if rate.low > 0:
            text = _("{points} points more of them bought than of those held out: between {low} and {high}.")
        elif rate.high < 0:
            text = _("{points} points fewer of them bought than of those held out: between {low} and {high}.")
        else:
            text = _("What differs may well be chance: it lies between {low} and {high} points.")
        low, high = sorted((rate.low, rate.high), key=abs) if rate.high < 0 else (rate.low, rate.high)
        sign = -1 if rate.high < 0 else 1
        return text.format(
            points=num(100 * abs(rate.value), 2), low=num(100 * sign * low, 2), high=num(100 * sign * high, 2)
        )

    @property
    def limit(self) -> str:
        """What people in these numbers could have shown, where nothing is sure."""
        found = self.comparison
        if found.visible is None or found.rate is None or found.rate.is_beyond_chance:
            return ""
        people = found.held_out.people
        return ngettext(
            "With {people} person held out, only a difference above {points} points would be visible.",
            "With {people} people held out, only a difference above {points} points would be visible.",
            people,
        ).format(people=num(people), points=num(100 * found.visible, 1))

    @property
    def more_buyers(self) -> str:
        more = self.comparison.more_buyers
        if more is None:
            return ""
        return _("about {value}, between {low} and {high}").format(
            value=num(round(more.value)), low=num(round(more.low)), high=num(round(more.high))
        )

    @property
    def more_revenue(self) -> str:
        more, currency = self.comparison.more_revenue, self.comparison.currency
        if more is None:
            return _("not known: that takes {buyers} buyers on each side").format(buyers=BUYERS_FOR_REVENUE)
        value, low, high = (money_whole(round(part), currency) for part in (more.value, more.low, more.high))
        return _("about {value}, between {low} and {high}").format(value=value, low=low, high=high)

    @property
    def chance(self) -> str:
        """How likely chance alone makes such a difference, in words."""
        p_value = self.comparison.p_value
        if p_value is None:
            return ""
        if p_value < 0.001:
            return _("alone would do as much less than once in 1,000 times")
        return _("alone would do as much {times} times in 1,000").format(times=num(round(1000 * p_value)))


def outcome_of(campaign: Campaign) -> Shown | None:
    """As last compared, without comparing; None where nobody was held out."""
    found = Outcome.objects.filter(campaign=campaign).first()
    if found is None:
        return None
    comparison = Comparison.kept(found.figures)
    ends_at = (campaign.finished_at or now()) + timedelta(days=campaign.goal_days)
    return Shown(comparison, found.counted_at, ends_at) if comparison.held_out.people else None


# --- statistics -----------------------------------------------------------------------------------


def difference_of_shares(treated: Side, held_out: Side) -> tuple[Interval, float | None]:
    """By how much the share of buyers differs, and how likely chance alone does as much; needs people."""
    # Heavy to import, and only workers that compare need it.
    import numpy
    from statsmodels.stats.proportion import confint_proportions_2indep, test_proportions_2indep

    counts = (treated.buyers, treated.people, held_out.buyers, held_out.people)
    with numpy.errstate(all="ignore"):  # Nobody bought: the p-value is then not a number.
        low, high = confint_proportions_2indep(
            *counts, method="newcomb", compare="diff", alpha=1 - CONFIDENCE
        )
        p_value = float(test_proportions_2indep(*counts, method="score", compare="diff").pvalue)
    interval = Interval(treated.rate - held_out.rate, float(low), float(high))
    return interval, None if math.isnan(p_value) else p_value


def difference_of_revenue(treated: Side, held_out: Side) -> Interval | None:
    """By how much the revenue per person differs, by Welch; None with too few buyers for that."""
    if min(treated.buyers, held_out.buyers) < BUYERS_FOR_REVENUE:
        return None
    from scipy import stats

    parts = [_variance_of_mean(side) for side in (treated, held_out)]
    if not any(parts):  # Whatever was bought cost nothing.
        return None
    error = math.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / sum(
        part**2 / (side.people - 1) for part, side in zip(parts, (treated, held_out), strict=True)
    )  # Welch and Satterthwaite.
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    difference = treated.revenue_each - held_out.revenue_each
    return Interval(difference, difference - reach, difference + reach)


def smallest_visible(treated: Side, held_out: Side) -> float:
    """The smallest rise of the held-out side's share that groups of these sizes would show."""
    from statsmodels.stats.power import NormalIndPower

    effect = NormalIndPower().solve_power(
        effect_size=None,
        nobs1=treated.people,
        ratio=held_out.people / treated.people,
        alpha=1 - CONFIDENCE,
        power=POWER,
    )
    share = held_out.rate
    angle = min(math.asin(math.sqrt(share)) + float(effect) / 2, math.pi / 2)
    return math.sin(angle) ** 2 - share


def _variance_of_mean(side: Side) -> float:
    variance = (side.revenue_squares - side.people * side.revenue_each**2) / (side.people - 1)
    return max(variance, 0.0) / side.people
