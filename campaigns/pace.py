"""How fast may be sent: buckets of permissions in the database, shared by every worker.

A bucket fills at its rate and holds one second's worth, at least one permission; who takes none has to wait.
"""

from collections.abc import Mapping

from django.db import connection

from .models import Pace

# Buckets are locked in the order of their keys, so two workers cannot wait for each other.
_TAKE = """
WITH wanted AS (
    SELECT * FROM unnest(%(keys)s::text[], %(wanted)s::int[], %(rates)s::float8[])
        AS wanted(key, wanted, rate)
),
bucket AS (
    SELECT pace.key, wanted.wanted,
           LEAST(GREATEST(rate, 1),
                 tokens + rate * EXTRACT(epoch FROM clock_timestamp() - filled_at)) AS level
    FROM campaigns_pace AS pace JOIN wanted ON wanted.key = pace.key
    ORDER BY pace.key FOR UPDATE OF pace
)
UPDATE campaigns_pace AS pace
SET tokens = level - LEAST(wanted, floor(level)), filled_at = clock_timestamp()
FROM bucket WHERE bucket.key = pace.key
RETURNING pace.key, LEAST(wanted, floor(level))::int
"""


def take(wanted: Mapping[str, int], rates: Mapping[str, float]) -> dict[str, int]:
    """Take permissions from the buckets of these keys; returns how many each gave, up to what was wanted.

    `rates` is permissions a second by key. A bucket asked for the first time is full.
    """
    if not wanted:
        return {}
    keys = sorted(wanted)
    Pace.objects.bulk_create(
        [Pace(key=key, tokens=max(rates[key], 1)) for key in keys], ignore_conflicts=True
    )
    with connection.cursor() as cursor:
        cursor.execute(
            _TAKE,
            {"keys": keys, "wanted": [wanted[key] for key in keys], "rates": [rates[key] for key in keys]},
        )
        return dict(cursor.fetchall())
