"""What a campaign that waits would send, foreseen by workers: judging a million people takes seconds."""

import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.utils.timezone import now

from core.errors import DomainError
from segments.limits import time_limit

from .. import audience, planning
from ..models import Campaign, Tally
from ..waiting import WORKER_MS

WAITING = (Campaign.Status.APPROVAL, Campaign.Status.SCHEDULED)

# The forecast that is most overdue, once a minute at most; what it costs takes up a twentieth of the time.
_OVERDUE = """
SELECT tally.campaign_id FROM campaigns_tally AS tally
JOIN campaigns_campaign AS campaign ON campaign.id = tally.campaign_id
WHERE campaign.status = ANY(%(waiting)s) AND tally.foreseen_at IS NOT NULL
  AND tally.foreseen_at
      + greatest(interval '1 minute', make_interval(secs => tally.foresight_ms * 20 / 1000.0))
      < clock_timestamp()
ORDER BY tally.foreseen_at LIMIT 1 FOR UPDATE OF tally SKIP LOCKED
"""


@dataclass(frozen=True)
class Foreseen:
    """How many would be sent to and held back, by channel, as of a moment."""

    as_of: datetime
    people: int
    sendable: dict[str, int] = field(default_factory=dict)
    held_back: dict[str, dict[str, int]] = field(default_factory=dict)
    held_out: int = 0

    @property
    def messages(self) -> int:
        return sum(self.sendable.values())


def forecast_of(campaign: Campaign) -> Foreseen:
    """As last foreseen for this revision of the campaign. Who looks first, foresees, or is told to wait.

    Raises waiting.BeingCounted and other DomainErrors.
    """
    tally = Tally.objects.filter(campaign=campaign).first()
    if tally and tally.foreseen_at and tally.forecast and tally.forecast["revision"] == campaign.revision:
        return _read(tally.foreseen_at, tally.forecast)
    start = time.monotonic()
    answer = audience.forecast_of(campaign)
    return _keep(campaign, answer.as_of, answer.found, time.monotonic() - start)


def _keep(campaign: Campaign, as_of: datetime, found: planning.Forecast, seconds: float) -> Foreseen:
    kept = {
        "revision": campaign.revision,
        "people": found.people,
        "sendable": found.sendable,
        "held_back": found.held_back,
        "held_out": found.held_out,
    }
    cost = round(1000 * seconds)
    Tally.objects.update_or_create(
        campaign=campaign, defaults={"foreseen_at": as_of, "foresight_ms": cost, "forecast": kept}
    )
    return _read(as_of, kept)


def foresee_overdue() -> bool:
    """Foresee the waiting campaign whose forecast is most overdue; False when none is."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_OVERDUE, {"waiting": list(WAITING)})
        row = cursor.fetchone()
        if row:
            _foresee_again(Campaign.objects.select_related("brand").get(pk=row[0]))
    return row is not None


def _foresee_again(campaign: Campaign) -> None:
    start, as_of = time.monotonic(), now()
    try:
        with time_limit(WORKER_MS):
            found = planning.forecast(campaign)
        _keep(campaign, as_of, found, time.monotonic() - start)
    except DomainError:  # Then the page says why, to who looks at it.
        Tally.objects.filter(campaign=campaign).update(foreseen_at=None)


def _read(as_of: datetime, kept: dict[str, Any]) -> Foreseen:
    return Foreseen(as_of, kept["people"], kept["sendable"], kept["held_back"], kept.get("held_out", 0))
