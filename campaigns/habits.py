"""Each person's best hour: from their opens, clicks and purchases, and from everybody's where they are few.

How it is told. Every act counts for the hour the person's own clock showed, by its weight, and fades with
a half-life of ninety days. The hours of a day are a multinomial with a Dirichlet prior: the share of hour h
in what a person does is estimated as

    (n_h + PRIOR * p_h) / (n + PRIOR)

with n_h the person's faded weight at h, n its sum over the day, and p_h the audience's own share, itself
smoothed towards no hour in particular: p_h = (N_h + CALM / H) / (N + CALM) over the H hours allowed. The
best hour is the largest; the denominator is one person's own and changes no order. Somebody of whom
nothing is known gets the audience's best hour (Gelman et al., Bayesian Data Analysis, 3rd ed., 3.4).

Fading is kept by forward decay (Cormode et al., 2009): what is stored is the weight as of LANDMARK, growing
for later acts, so that a row is only ever added to; asking scales by how far LANDMARK lies back.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from core.cursor import consume
from customers import events
from customers.models import Event

from .models import Brand

CURSOR = "campaigns.habits"
LANDMARK = datetime(2026, 1, 1, tzinfo=UTC)
HALF_LIFE = timedelta(days=90)
WEIGHTS = {events.MESSAGE_OPENED: 0.5, events.MESSAGE_CLICKED: 1.0, events.ORDER_COMPLETED: 2.0}
PRIOR = 4.0  # What the audience's habit weighs against one person's: as much as two fresh purchases.
CALM = 24.0  # And what no habit at all weighs against the audience's.
DEFAULT_HOUR = 10  # Between hours that are equally good, the one nearest to this.

# An act at midnight sharp is a day without an hour, as files of orders often have it.
_COUNT = """
INSERT INTO campaigns_habit (customer_id, hour, weight)
SELECT act.customer_id, act.hour, sum(act.weight)
FROM (
    SELECT event.customer_id, extract(hour FROM local.at)::smallint AS hour, local.at::time AS at,
           known.weight * exp(ln(2) * extract(epoch FROM event.occurred_at - %(landmark)s) / %(half_life)s)
               AS weight
    FROM customers_event AS event
    JOIN unnest(%(names)s::text[], %(weights)s::float8[]) AS known(name, weight) ON known.name = event.name
    JOIN customers_customer AS customer
        ON customer.id = event.customer_id AND customer.status IN ('known', 'anonymous')
    LEFT JOIN inventory_store AS store ON store.id = customer.home_store_id
    CROSS JOIN LATERAL (SELECT event.occurred_at AT TIME ZONE
        COALESCE(NULLIF(customer.timezone, ''), store.timezone, %(zone)s)) AS local(at)
    WHERE event.id = ANY(%(ids)s)
) AS act
WHERE act.at <> time '00:00'
GROUP BY act.customer_id, act.hour
ORDER BY act.customer_id, act.hour
ON CONFLICT (customer_id, hour) DO UPDATE SET weight = campaigns_habit.weight + EXCLUDED.weight
"""

# `best` (id, hour) for everybody in `audience` (id). Habits are only ever joined as the table they are: its
# index serves an audience of any size, however wrongly the planner guesses it.
BEST_HOURS = """
prior AS (
    SELECT hour, (COALESCE(seen.weight, 0) + %(calm)s / cardinality(%(hours)s))
                 / (COALESCE(sum(seen.weight) OVER (), 0) + %(calm)s) AS share
    FROM unnest(%(hours)s) AS allowed(hour)
    LEFT JOIN (
        SELECT habit.hour, %(fade)s * sum(habit.weight) AS weight
        FROM audience JOIN campaigns_habit AS habit ON habit.customer_id = audience.id GROUP BY habit.hour
    ) AS seen USING (hour)
),
favourite AS (
    SELECT hour, %(prior)s * share AS score FROM prior
    ORDER BY share DESC, abs(hour - %(default_hour)s), hour LIMIT 1
),
own AS (
    SELECT audience.id, max(ARRAY[%(fade)s * habit.weight + %(prior)s * prior.share,
                                  -abs(habit.hour - %(default_hour)s), -habit.hour]) AS best
    FROM audience
    LEFT JOIN (campaigns_habit AS habit JOIN prior ON prior.hour = habit.hour)
        ON habit.customer_id = audience.id
    GROUP BY audience.id
),
best AS (
    SELECT own.id, CASE WHEN own.best[1] > favourite.score THEN -own.best[3] ELSE favourite.hour END AS hour
    FROM own CROSS JOIN favourite
)
"""


def follow_habits(*, limit: int = 5000) -> int:
    """Count the next acts of the log; returns how many events were read."""
    log = Event.objects.filter(name__in=WEIGHTS).only("pk", "tx")
    return consume(CURSOR, log, _count, limit=limit)


def _count(acts: Sequence[Event]) -> None:
    params = {
        "ids": [act.pk for act in acts],
        "names": list(WEIGHTS),
        "weights": list(WEIGHTS.values()),
        "landmark": LANDMARK,
        "half_life": HALF_LIFE.total_seconds(),
        "zone": settings.TIME_ZONE,
    }
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, params)


def best_hours_params(hours: Sequence[int], at: datetime) -> dict[str, Any]:
    """What BEST_HOURS needs to choose among these hours, things being as they are at an instant."""
    return {
        "hours": list(hours),
        "fade": 0.5 ** ((at - LANDMARK) / HALF_LIFE),
        "prior": PRIOR,
        "calm": CALM,
        "default_hour": DEFAULT_HOUR,
    }


def hours_allowed(brand: Brand, *, respect_quiet_hours: bool) -> list[int]:
    """The hours that begin outside the brand's quiet hours; all where none does or they are not respected."""
    start, end = brand.quiet_from, brand.quiet_until
    hours = [hour for hour in range(24) if not respect_quiet_hours or not _is_quiet(time(hour), start, end)]
    return hours or list(range(24))


def _is_quiet(clock: time, start: time, end: time) -> bool:
    if start <= end:
        return start <= clock < end
    return clock >= start or clock < end
