"""A provider that fails rests: after a few failures in a row nothing is handed to it for a while.

Each rest is twice as long as the one before, up to five minutes, with jitter. When it ends one worker tries
with one message; its success closes the breaker for all.
"""

from dataclasses import dataclass
from typing import Any

from django.db import connection

from .models import Breaker

TRIPS_AFTER = 5  # Failures in a row.
FIRST_REST = 5  # Seconds.
LONGEST_REST = 300

_FAILED = """
INSERT INTO campaigns_breaker AS breaker (provider, failures, trips, open_until, detail)
VALUES (%(provider)s, %(failures)s, 0, NULL, %(detail)s)
ON CONFLICT (provider) DO UPDATE SET failures = breaker.failures + EXCLUDED.failures, detail = EXCLUDED.detail
"""

# Whoever sees enough failures and no rest under way starts one.
_REST = """
UPDATE campaigns_breaker SET
    trips = trips + 1, is_probing = false,
    open_until = clock_timestamp() + make_interval(
        secs => LEAST(%(longest)s, %(first)s * 2 ^ trips) * (0.75 + random() / 2))
WHERE provider = %(provider)s AND failures >= %(after)s
  AND (open_until IS NULL OR open_until <= clock_timestamp() OR is_probing)
"""

_STATE = "SELECT open_until FROM campaigns_breaker WHERE provider = %(provider)s AND failures > 0"

# The rest is over: the worker whose UPDATE finds it so may try, the others go on waiting meanwhile.
_PROBE = """
UPDATE campaigns_breaker SET open_until = clock_timestamp() + make_interval(secs => 30), is_probing = true
WHERE provider = %(provider)s AND open_until <= clock_timestamp()
"""


@dataclass
class Allowance:
    """How many messages may be handed to a provider now, and whether it has been failing."""

    messages: int
    is_failing: bool = False


def allowance(provider: str, limit: int) -> Allowance:
    """`limit` messages for a provider that works, one for one that may be back, none for one at rest."""
    with connection.cursor() as cursor:
        state = cursor.execute(_STATE, {"provider": provider}).fetchone()
        if state is None:
            return Allowance(limit)
        if state[0] is None:
            return Allowance(limit, is_failing=True)
        cursor.execute(_PROBE, {"provider": provider})
        return Allowance(min(limit, cursor.rowcount), is_failing=True)


def note_failures(provider: str, count: int, detail: str) -> None:
    """Count failures of the provider itself; enough of them begin a rest."""
    params: dict[str, Any] = {
        "provider": provider,
        "failures": count,
        "detail": detail[:300],
        "after": TRIPS_AFTER,
        "first": FIRST_REST,
        "longest": LONGEST_REST,
    }
    with connection.cursor() as cursor:
        cursor.execute(_FAILED, params)
        cursor.execute(_REST, params)


def note_success(provider: str) -> None:
    """The provider took something: it is well."""
    Breaker.objects.filter(provider=provider).exclude(failures=0).update(
        failures=0, trips=0, open_until=None, is_probing=False
    )
