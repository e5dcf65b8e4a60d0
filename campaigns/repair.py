"""What those who run the house do by hand: set messages aside, send them again, believe a provider again.

Each verb works through its messages in portions, so that nothing waits long for it, may be repeated, and
leaves a line in `Repair` with who did it, what was asked for and to how many.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import structlog
from django.db import connection, transaction

from core.doorbell import ring
from core.errors import DomainError
from customers.models import Channel

from . import breaker, outbox, services
from .models import Breaker, Campaign, Message, Repair

log = structlog.get_logger(__name__)

PORTION = 5000
# Messages of other campaigns have nowhere to go: drafts, those in approval, the cancelled.
ALIVE = (Campaign.Status.SENDING, Campaign.Status.SENT, Campaign.Status.PAUSED, Campaign.Status.SCHEDULED)
AGAIN = (Message.Status.FAILED, Message.Status.UNKNOWN)


@dataclass(frozen=True)
class Selection:
    """Which messages: empty fields choose all. `status` and `reason` are a message's own."""

    campaign: int | None = None
    channel: str = ""
    status: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        for name, value, known in (
            ("channel", self.channel, Channel.values),
            ("status", self.status, Message.Status.values),
            ("reason", self.reason, Message.Reason.values),
        ):
            if value and value not in known:
                raise DomainError(f"There is no {name} called {value}; there are {', '.join(known)}.")
        if self.campaign and not Campaign.objects.filter(pk=self.campaign).exists():
            raise DomainError(f"There is no campaign {self.campaign}.")

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value}


@dataclass(frozen=True)
class Found:
    """Messages of one campaign, channel and state; `expired` of them would be held back as too late."""

    campaign: int
    name: str
    campaign_status: str
    channel: str
    status: str
    reason: str
    messages: int
    expired: int

    @property
    def may_go(self) -> bool:
        return self.campaign_status in ALIVE


# Waiting, or in doubt: what a live worker has on the wire cannot be called back. A worker whose lease is
# taken from it finds that at its fence.
_PARKABLE = """
message.status IN ('planned', 'leased')
OR message.status = 'sending' AND message.lease_until < clock_timestamp()
"""

_COUNT = """
SELECT campaign.id, campaign.name, campaign.status, message.channel, message.status, message.reason, count(*),
       count(*) FILTER (WHERE LEAST(message.expires_at, campaign.expires_at) <= now())
FROM campaigns_message AS message JOIN campaigns_campaign AS campaign ON campaign.id = message.campaign_id
WHERE ({which})
  AND (%(campaign)s::bigint IS NULL OR message.campaign_id = %(campaign)s)
  AND (%(channel)s = '' OR message.channel = %(channel)s)
  AND (%(reason)s = '' OR message.reason = %(reason)s)
GROUP BY campaign.id, message.channel, message.status, message.reason
ORDER BY campaign.id, message.channel, message.status, message.reason
"""

# Rows somebody holds right now are about to leave or to be settled: they are left to whoever holds them.
_PARK = f"""
WITH chosen AS (
    SELECT id, status AS was FROM campaigns_message AS message
    WHERE ({_PARKABLE}) AND campaign_id = %(campaign)s AND (%(channel)s = '' OR channel = %(channel)s)
    ORDER BY id LIMIT %(portion)s FOR UPDATE SKIP LOCKED
)
UPDATE campaigns_message AS message SET
    status = CASE was WHEN 'sending' THEN 'unknown' ELSE 'failed' END,
    reason = CASE was WHEN 'sending' THEN 'no_answer' ELSE 'parked' END,
    settled_at = clock_timestamp(), owner = NULL, lease_until = NULL
FROM chosen WHERE message.id = chosen.id
"""  # noqa: S608 - the condition is ours

# Whoever stopped a worker before still travels alone. The provider's reference stays, so that a late report
# about the first try still finds its message. What fails again meanwhile is not taken up again. Uses
# message_troubled.
_REPLAY = """
WITH chosen AS (
    SELECT id FROM campaigns_message
    WHERE campaign_id = %(campaign)s AND status = %(status)s AND status IN ('failed', 'unknown')
      AND (%(channel)s = '' OR channel = %(channel)s) AND (%(reason)s = '' OR reason = %(reason)s)
      AND COALESCE(settled_at, '-infinity') <= %(before)s
    ORDER BY id LIMIT %(portion)s FOR UPDATE
)
UPDATE campaigns_message AS message SET
    status = 'planned', reason = '', detail = '', attempts = 0, crashes = LEAST(crashes, 1),
    due_at = clock_timestamp(), settled_at = NULL, sent_at = NULL, owner = NULL, lease_until = NULL
FROM chosen WHERE message.id = chosen.id
"""


def parkable(selection: Selection) -> list[Found]:
    """What `park` would set aside, and what of it is in doubt (`sending`)."""
    return _count(_PARKABLE, selection)


def park(selection: Selection, *, by: str, reason: str = "") -> int:
    """Set waiting messages aside until they are replayed; those in doubt become unknown, and no one tries
    them again. Returns how many. What a worker is sending at this moment still goes.
    """
    done = 0
    outbox.believe_logs()  # What is known to have been sent is not in doubt.
    for campaign in sorted({found.campaign for found in parkable(selection)}):
        params = {"campaign": campaign, "channel": selection.channel, "portion": PORTION}
        done += _in_portions(partial(_run, _PARK, params))
    services.finish_campaigns()
    _note(Repair.Kind.PARK, selection, done, by=by, reason=reason)
    return done


def replayable(selection: Selection) -> list[Found]:
    """What `replay` would send again; that of campaigns which are over for good stays (`may_go`)."""
    _check_replay(selection)
    return _count("message.status = %(status)s", selection)


def replay(selection: Selection, *, by: str, reason: str = "") -> int:
    """Let failed or unknown messages wait for sending again, their campaigns with them; returns how many.

    Every gate judges them anew. The same message keeps its Message-ID, but where a provider did take an
    unknown one, its reader gets it twice.
    """
    done, before = 0, _database_clock()
    for campaign in sorted({found.campaign for found in replayable(selection) if found.may_go}):
        params = vars(selection) | {"campaign": campaign, "portion": PORTION, "before": before}
        done += _in_portions(partial(_replay_portion, params))
    _note(Repair.Kind.REPLAY, selection, done, by=by, reason=reason)
    for channel in Channel.values if done else []:
        ring("campaigns.tasks.dispatch_messages", channel)
    return done


def reset_breaker(provider: str, *, by: str, reason: str = "") -> None:
    """Use a provider again at once, whatever it failed before. Raises DomainError for one nobody knows of."""
    if not Breaker.objects.filter(provider=provider).exists():
        known = ", ".join(Breaker.objects.order_by("pk").values_list("pk", flat=True)) or "none"
        raise DomainError(f"No provider called {provider} has failed so far; those that have: {known}.")
    with transaction.atomic():
        breaker.note_success(provider)
        Repair.objects.create(kind=Repair.Kind.RESET, selection={"provider": provider}, by=by, reason=reason)
    log.info("breaker_reset", provider=provider, by=by)


# --- inside ---------------------------------------------------------------------------------------


def _check_replay(selection: Selection) -> None:
    if selection.status not in AGAIN:
        raise DomainError(f"Only {' and '.join(AGAIN)} messages can be sent again.")


def _count(which: str, selection: Selection) -> list[Found]:
    params = vars(selection)
    with connection.cursor() as cursor:
        cursor.execute(_COUNT.format(which=which), params)
        return [Found(*row) for row in cursor.fetchall()]


@transaction.atomic
def _replay_portion(params: dict[str, Any]) -> int:
    """One portion, under the lock of its campaign: cancelling or finishing it comes before or after."""
    campaign = Campaign.objects.select_for_update().get(pk=params["campaign"])
    if campaign.status not in ALIVE:
        return 0
    done = _run(_REPLAY, params)
    if done and campaign.status in (Campaign.Status.SENT, Campaign.Status.SCHEDULED):
        campaign.status, campaign.finished_at = Campaign.Status.SENDING, None
        campaign.save(update_fields=["status", "finished_at", "updated_at"])
    return done


def _database_clock() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment


def _in_portions(portion: Callable[[], int]) -> int:
    total = 0
    while done := portion():
        total += done
    return total


def _run(sql: str, params: dict[str, Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.rowcount


def _note(kind: str, selection: Selection, messages: int, *, by: str, reason: str) -> None:
    Repair.objects.create(
        kind=kind, selection=selection.as_json(), messages=messages, by=by[:150], reason=reason[:300]
    )
    log.info("repaired", kind=kind, messages=messages, by=by, **selection.as_json())
