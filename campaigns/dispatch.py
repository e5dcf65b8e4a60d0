"""Claim, fence, send, mark: how a planned message leaves the house.

A worker claims a batch of one channel under a lease, then takes it in small windows: fence (every gate
again, committed), wire, mark. Marking one window and fencing the next is one trip to the database. Killed
anywhere, a worker leaves at most one window in doubt; a lease that runs out is found by the next worker. No
transaction is open while a provider is asked.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction

from customers import events
from customers.contact import contacts_params, contacts_sql
from customers.models import Suppression
from customers.services import suppress_address

from . import breaker, pace
from .channels import CHANNELS
from .channels.base import Outcome, Provider
from .gates import DUE_AT, REASON, SAME_ADDRESS
from .limits import AT_THE_FENCE, ONE_AT_A_TIME
from .models import Message
from .rendering import Outgoing
from .templates import TRAITS

log = structlog.get_logger(__name__)

BATCH = 500
WINDOW = 8  # Messages in doubt when a worker is killed.
MAX_ATTEMPTS = 8
OUTAGE = 300  # Seconds PostgreSQL may be away while a worker waits to say what it sent.
MAX_CRASHES = 3  # Workers that died over one message before it is set aside.

# Of every running campaign the next of its own, then the earliest of all; uses message_waiting. SKIP LOCKED
# lets any number of workers claim side by side.
_CLAIM = """
WITH due AS (
    SELECT message.id FROM campaigns_campaign AS campaign
    CROSS JOIN LATERAL (
        SELECT id, due_at FROM campaigns_message
        WHERE campaign_id = campaign.id AND channel = %(channel)s AND status = 'planned' AND due_at <= now()
        ORDER BY due_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ) AS message
    WHERE campaign.status = 'sending' AND (SELECT sends_are_on(%(channel)s))
    ORDER BY message.due_at, message.id LIMIT %(limit)s
)
UPDATE campaigns_message AS message SET status = 'leased', owner = %(owner)s, reason = '',
       lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
FROM due, campaigns_campaign AS campaign
WHERE message.id = due.id AND campaign.id = message.campaign_id
RETURNING message.id, message.crashes, message.campaign_id, campaign.throttle_per_hour,
          split_part(message.address, '@', 2)
"""

# Given back unsent; `waits` are the seconds until each may be claimed again.
_RELEASE = """
UPDATE campaigns_message AS message SET status = 'planned', owner = NULL, lease_until = NULL,
       due_at = CASE WHEN waits > 0 THEN clock_timestamp() + make_interval(secs => waits) ELSE due_at END
FROM unnest(%(ids)s::bigint[], %(waits)s::float8[]) AS released(id, waits)
WHERE message.id = released.id AND message.owner = %(owner)s AND message.status = 'leased'
"""

# record_consent locks the customer FOR UPDATE: whoever comes first is seen by the other.
_HOLD_PEOPLE = """
SELECT 1 FROM customers_customer
WHERE id IN (SELECT customer_id FROM campaigns_message WHERE id = ANY(%(ids)s::bigint[]))
ORDER BY id FOR KEY SHARE
"""

# These run thousands of times with a few ids: planning them anew each time costs more than running them.
_PLAN_ONCE = "SET LOCAL plan_cache_mode = force_generic_plan"

# Accepts our own 'sending' rows, so a fence whose commit reply was lost may be repeated. `status || ''`
# keeps the planner to the primary key: message_leases holds what every worker holds.
_FENCE = """
WITH mine AS (
    SELECT id, campaign_id, customer_id, channel, occurrence, address, expires_at FROM campaigns_message
    WHERE id = ANY(%(ids)s::bigint[]) AND owner = %(owner)s AND lease_until > clock_timestamp()
      AND status || '' IN ('leased', 'sending')
    ORDER BY id FOR UPDATE
),
people AS (SELECT DISTINCT customer_id AS id FROM mine),
contact AS ({contacts}),
candidate AS (
    SELECT mine.id, mine.channel, contact.address, contact.consent, contact.suppression,
           LEAST(campaign.expires_at, mine.expires_at) AS expires_at,
           campaign.status AS campaign_status, campaign.revision, {due_at} AS due_at, {free_at} AS free_at,
           brand.weekly_points IS NULL AND brand.daily_messages IS NULL
               OR mine.id = min(mine.id) OVER (PARTITION BY mine.customer_id) AS has_turn,
           contact.address <> mine.address AND {same_address} AS is_taken,
           tracking.state IS NOT DISTINCT FROM 'granted' AS tracks_opens,
           customer.first_name, customer.last_name, customer.city, customer.traits, customer.home_store_id
    FROM mine
    JOIN contact ON contact.customer_id = mine.customer_id AND contact.channel = mine.channel
    JOIN customers_customer AS customer ON customer.id = mine.customer_id
    JOIN campaigns_campaign AS campaign ON campaign.id = mine.campaign_id
    JOIN campaigns_brand AS brand ON brand.id = campaign.brand_id
    LEFT JOIN customers_consent AS tracking
        ON tracking.customer_id = mine.customer_id AND tracking.channel = ''
        AND tracking.purpose = 'open_tracking' AND mine.channel = 'email'
    {limits}
),
judged AS (
    SELECT candidate.*,
        CASE campaign_status WHEN 'cancelled' THEN 'cancelled' ELSE COALESCE(NULLIF({reason}, ''), CASE
            WHEN is_taken THEN 'same_address' WHEN free_at >= expires_at THEN 'pressure' ELSE '' END)
        END AS verdict,
        campaign_status = 'sending' AND GREATEST(due_at, free_at) <= now() AND has_turn AND NOT EXISTS (
            SELECT 1 FROM campaigns_switch
            WHERE name IN ('sends', 'sends:' || candidate.channel) AND NOT is_on) AS may_go,
        store.name AS store_name, store.city AS store_city
    FROM candidate LEFT JOIN inventory_store AS store ON store.id = candidate.home_store_id
)
UPDATE campaigns_message AS message SET
    status = CASE WHEN verdict <> '' THEN 'suppressed' WHEN may_go THEN 'sending' ELSE 'planned' END,
    reason = CASE WHEN verdict <> '' THEN verdict WHEN free_at > now() THEN 'pressure'
                  WHEN judged.due_at > now() THEN 'quiet_hours' ELSE '' END,
    address = COALESCE(judged.address, ''),
    due_at = GREATEST(judged.due_at, free_at),
    owner = CASE WHEN verdict = '' AND may_go THEN message.owner END,
    lease_until = CASE WHEN verdict = '' AND may_go
                       THEN clock_timestamp() + make_interval(secs => %(lease)s) END,
    sending_at = CASE WHEN verdict = '' AND may_go THEN clock_timestamp() END,
    attempts = message.attempts + CASE WHEN verdict = '' AND may_go THEN 1 ELSE 0 END,
    settled_at = CASE WHEN verdict <> '' THEN now() END
FROM judged WHERE message.id = judged.id
RETURNING message.id, message.status, message.channel, message.address, message.content_id,
          message.campaign_id, judged.revision, judged.first_name, judged.last_name, judged.city,
          COALESCE(judged.store_name, ''), COALESCE(judged.store_city, ''), judged.traits::text,
          judged.tracks_opens
"""

# Only the owner marks, and only what it is sending: a worker that woke up late changes nothing. Handed back
# without a reason, a message was not begun: it counts as no attempt and waits no longer.
_MARK = """
WITH outcome AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(statuses)s::text[], %(reasons)s::text[], %(details)s::text[],
                         %(refs)s::text[]) AS outcome(id, status, reason, detail, ref)
),
marked AS (
    UPDATE campaigns_message AS message SET
        status = CASE WHEN outcome.status <> 'planned' THEN outcome.status
                      WHEN message.attempts >= %(max_attempts)s AND outcome.reason <> '' THEN 'failed'
                      ELSE 'planned' END,
        reason = outcome.reason, detail = outcome.detail,
        provider = %(provider)s, provider_ref = outcome.ref,
        attempts = message.attempts
                   - CASE WHEN outcome.status = 'planned' AND outcome.reason = '' THEN 1 ELSE 0 END,
        due_at = CASE WHEN outcome.status = 'planned' AND outcome.reason <> ''
                 THEN now() + make_interval(
                     secs => LEAST(21600, 30 * 2 ^ message.attempts) * (0.5 + random()))
                 ELSE message.due_at END,
        sent_at = CASE outcome.status WHEN 'sent' THEN clock_timestamp() END,
        settled_at = CASE WHEN outcome.status <> 'planned' THEN clock_timestamp() END,
        owner = NULL, lease_until = NULL
    FROM outcome
    WHERE message.id = outcome.id AND message.owner = %(owner)s AND message.status || '' = 'sending'
    RETURNING message.id, message.customer_id, message.channel, message.campaign_id, message.content_id,
              message.status, message.sent_at
)
INSERT INTO customers_event (customer_id, name, channel, source, key, occurred_at, order_ref, properties)
SELECT marked.customer_id, CASE marked.status WHEN 'sent' THEN %(sent)s ELSE %(bounced)s END, marked.channel,
       'campaigns', marked.id || ':' || marked.status, clock_timestamp(), '',
       jsonb_build_object('campaign', campaign.id, 'campaign_name', campaign.name, 'message', marked.id,
                          'subject', content.subject)
FROM marked
JOIN campaigns_campaign AS campaign ON campaign.id = marked.campaign_id
JOIN campaigns_content AS content ON content.id = marked.content_id
WHERE marked.status IN ('sent', 'bounced')
ON CONFLICT (source, key) DO NOTHING
"""

# After PostgreSQL was away, workers first get some time to say what they sent meanwhile.
# What was only claimed waits again. What was being sent may be sent again under the same Message-ID where
# the channel allows that, alone from then on; elsewhere it parks until its report arrives.
_RECOVER = """
WITH lapsed AS (
    SELECT id, status = 'sending' AND channel = ANY(%(parking)s) AS parks,
           status = 'sending' AND crashes + 1 >= %(max_crashes)s AS is_poison,
           status = 'sending' AND attempts >= %(max_attempts)s AS is_spent
    FROM campaigns_message
    WHERE status IN ('leased', 'sending') AND lease_until < clock_timestamp()
      AND pg_postmaster_start_time() < clock_timestamp() - make_interval(secs => %(grace)s)
    ORDER BY id FOR UPDATE SKIP LOCKED
)
UPDATE campaigns_message AS message SET
    status = CASE WHEN parks THEN 'unknown' WHEN is_poison OR is_spent THEN 'failed' ELSE 'planned' END,
    reason = CASE WHEN parks THEN 'no_answer' WHEN is_poison THEN 'poison'
                  WHEN is_spent THEN 'provider_error' ELSE '' END,
    crashes = crashes + CASE WHEN status = 'sending' THEN 1 ELSE 0 END,
    settled_at = CASE WHEN parks OR is_poison OR is_spent THEN now() END,
    owner = NULL, lease_until = NULL
FROM lapsed WHERE message.id = lapsed.id
"""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A leased message, and what decides when and in what company it is sent."""

    id: int
    crashes: int
    campaign_id: int
    throttle_per_hour: int | None
    domain: str


def dispatch_batch(
    *,
    owner: UUID,
    limit: int = BATCH,
    channels: Iterable[str] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Claim, fence, send and mark one batch of each channel; returns how many messages were claimed.

    `owner` names this worker. `should_stop` is asked between windows: what is left then is given back.
    """
    return sum(
        _dispatch_channel(channel, owner, limit, should_stop)
        for channel in (CHANNELS if channels is None else channels)
    )


def _dispatch_channel(channel: str, owner: UUID, limit: int, should_stop: Callable[[], bool]) -> int:
    with CHANNELS[channel].provider() as provider:
        allowed = breaker.allowance(provider.name, limit)
        deadline = _safe_until()
        claimed = claim(owner, channel, allowed.messages) if allowed.messages else []
        ready = _within_pace(owner, provider, claimed)
        done: list[Outcome] = []
        try:
            for window in _windows(ready, _window_size(channel, provider)):
                if should_stop() or time.monotonic() > deadline:  # The leases may end before their turn.
                    release(owner, window)
                    continue
                until = _safe_until()
                outgoing = _turn(owner, channel, provider, done, window)
                done = list(provider.send(outgoing, deadline=until)) if outgoing else []
                if not _is_well(provider, done, allowed):
                    deadline = 0.0  # The other windows are not tried on it.
        finally:
            _turn(owner, channel, provider, done, [])
        return len(claimed)


# --- steps ----------------------------------------------------------------------------------------


def claim(owner: UUID, channel: str, limit: int) -> list[Claimed]:
    """Lease up to `limit` due messages of a channel, of running campaigns; none while sending is off."""
    if not settings.SENDS:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            _CLAIM,
            {"owner": owner, "channel": channel, "limit": limit, "lease": settings.MESSAGE_LEASE_SECONDS},
        )
        return sorted((Claimed(*row) for row in cursor.fetchall()), key=lambda one: (one.crashes, one.id))


def release(owner: UUID, ids: Sequence[int], waits: Sequence[float] | None = None) -> None:
    """Give back messages this worker leased and did not fence; `waits` are seconds before the next claim."""
    params: dict[str, Any] = {"owner": owner, "ids": list(ids), "waits": list(waits or [0] * len(ids))}
    with connection.cursor() as cursor:
        cursor.execute(_RELEASE, params)


def fence(owner: UUID, ids: Sequence[int]) -> list[Outgoing]:
    """Judge leased messages once more and commit the verdict; returns those that may go on the wire."""
    with transaction.atomic():
        return _marked_and_fenced(owner, "", [], ids, list(CHANNELS))


def mark(owner: UUID, outcomes: Iterable[Outcome], *, provider: str = "") -> None:
    """Write what became of messages this owner was sending, and tell the event log."""
    with transaction.atomic():
        _marked_and_fenced(owner, provider, list(outcomes), [], [])


def recover_leases() -> int:
    """Put back what dead workers held: unsent messages wait again, doubtful ones follow their channel."""
    params = {
        "parking": settings.PARK_WHEN_IN_DOUBT,
        "max_attempts": MAX_ATTEMPTS,
        "max_crashes": MAX_CRASHES,
        "grace": settings.RECOVERY_GRACE_SECONDS,
    }
    with connection.cursor() as cursor:
        cursor.execute(_RECOVER, params)
        return cursor.rowcount


def _turn(
    owner: UUID, channel: str, provider: Provider, done: list[Outcome], ids: Sequence[int]
) -> list[Outgoing]:
    """Mark one window and fence the next in one commit; safe to repeat, and repeated through outages.

    What is not marked would be sent again, so a mark outlasts a restart of PostgreSQL. A fence does not: its
    leases end.
    """
    if not done and not ids:
        return []
    until = time.monotonic() + OUTAGE if done else _safe_until()
    pause = 0.1
    while True:
        try:
            with transaction.atomic():
                return _marked_and_fenced(owner, provider.name, done, ids, [channel])
        except (OperationalError, InterfaceError):
            if connection.in_atomic_block or time.monotonic() + pause > until:
                raise
            log.warning("database_away", waits=pause)
            connection.close()
            time.sleep(pause)
            pause = min(pause * 2, 2)


def _marked_and_fenced(
    owner: UUID, provider: str, done: list[Outcome], ids: Sequence[int], channels: list[str]
) -> list[Outgoing]:
    """Both steps, pipelined to the database in the caller's transaction; `channels` are those of the ids."""
    connection.ensure_connection()
    database = connection.connection  # Server-side parameters and prepared statements, without the ORM.
    database.prepare_threshold = 1_000_000  # Django's None forbids preparing even what asks for it.
    hold, marked, verdicts = (psycopg.Cursor(database) for _ in range(3))
    with connection.wrap_database_errors, database.pipeline():
        hold.execute(_PLAN_ONCE)
        if done:
            marked.execute(_MARK, _mark_params(owner, provider, done), prepare=True)
        if ids:
            params = {"ids": list(ids), "owner": owner, "lease": settings.MESSAGE_LEASE_SECONDS}
            hold.execute(ONE_AT_A_TIME, params, prepare=True)
            hold.execute(_HOLD_PEOPLE, params, prepare=True)
            verdicts.execute(_fence_sql(), contacts_params(channels) | params, prepare=True)
        rows = verdicts.fetchall() if ids else []
    _suppress_bounced(done)
    return [_outgoing(row) for row in sorted(rows) if row[1] == Message.Status.SENDING]


def _fence_sql() -> str:
    return _FENCE.format(
        contacts=contacts_sql("people"),
        due_at=DUE_AT.format(moment="now()"),
        free_at=DUE_AT.format(moment="pressure.free_at"),
        limits=AT_THE_FENCE,
        reason=REASON,
        same_address=SAME_ADDRESS.format(
            campaign="mine.campaign_id",
            occurrence="mine.occurrence",
            channel="mine.channel",
            address="contact.address",
            customer="mine.customer_id",
        ),
    )


def _mark_params(owner: UUID, provider: str, outcomes: list[Outcome]) -> dict[str, Any]:
    return {
        "owner": owner,
        "provider": provider,
        "ids": [outcome.message_id for outcome in outcomes],
        "statuses": [outcome.status for outcome in outcomes],
        "reasons": [str(outcome.reason) for outcome in outcomes],
        "details": [outcome.detail.replace("\0", "")[:300] for outcome in outcomes],
        "refs": [outcome.ref for outcome in outcomes],
        "max_attempts": MAX_ATTEMPTS,
        "sent": events.MESSAGE_SENT,
        "bounced": events.MESSAGE_BOUNCED,
    }


def _suppress_bounced(outcomes: list[Outcome]) -> None:
    bounced = [outcome.message_id for outcome in outcomes if outcome.status == Message.Status.BOUNCED]
    for channel, address in Message.objects.filter(pk__in=bounced).values_list("channel", "address"):
        suppress_address(channel=channel, address=address, reason=Suppression.Reason.BOUNCED)


def _outgoing(row: tuple[Any, ...]) -> Outgoing:
    message_id, _, channel, address, content, campaign, revision, first, last, city, *rest = row
    store, there, traits, tracks_opens = rest
    person = {
        "first_name": first,
        "last_name": last,
        "city": city,
        "store": store,
        "store_city": there,
        TRAITS: {key: str(value) for key, value in json.loads(traits).items()} if traits != "{}" else {},
    }
    return Outgoing(message_id, channel, address, content, campaign, revision, person, tracks_opens)


# --- how fast, and whether at all -----------------------------------------------------------------


def _within_pace(owner: UUID, provider: Provider, claimed: list[Claimed]) -> list[Claimed]:
    """The messages every limit leaves room for; the others are given back until there is."""
    keys = {one.id: _limits_of(provider, one) for one in claimed}
    rates = {key: rate for limits in keys.values() for key, rate in limits.items()}
    wanted = dict.fromkeys(rates, 0)
    for limits in keys.values():
        for key in limits:
            wanted[key] += 1
    left = pace.take(wanted, rates)
    queue = dict.fromkeys(rates, 0)
    ready, waiting, waits = [], [], []
    for one in claimed:
        limits = keys[one.id]
        if all(left[key] > 0 for key in limits):
            ready.append(one)
            for key in limits:
                left[key] -= 1
        else:
            for key in limits:
                queue[key] += 1
            waiting.append(one.id)
            waits.append(max(queue[key] / rates[key] for key in limits))
    if waiting:
        release(owner, waiting, waits)
    return ready


def _limits_of(provider: Provider, message: Claimed) -> dict[str, float]:
    """The buckets a message draws from, with their rates a second."""
    limits = {}
    if rate := settings.PROVIDER_RATES.get(provider.name):
        limits[f"provider:{provider.name}"] = float(rate)
    if rate := settings.DOMAIN_RATES.get(message.domain):
        limits[f"domain:{message.domain}"] = float(rate)
    if message.throttle_per_hour:
        limits[f"campaign:{message.campaign_id}"] = message.throttle_per_hour / 3600
    return limits


def _is_well(provider: Provider, outcomes: list[Outcome], allowed: breaker.Allowance) -> bool:
    """Tell the breaker how a window went; whether the provider took all of it."""
    failures = [one for one in outcomes if one.reason == Message.Reason.PROVIDER_ERROR]
    if allowed.is_failing and len(failures) < len(outcomes):
        breaker.note_success(provider.name)
        allowed.is_failing = False
    if failures:
        breaker.note_failures(provider.name, len(failures), failures[-1].detail)
    return not failures


def _safe_until() -> float:
    """Until when (time.monotonic) a lease taken now is surely ours; later, others may believe us dead."""
    return time.monotonic() + settings.MESSAGE_LEASE_SECONDS / 2


def _window_size(channel: str, provider: Provider) -> int:
    """How many messages may be in doubt at once: one where doubt parks them and no report ever comes."""
    parks_for_good = channel in settings.PARK_WHEN_IN_DOUBT and not provider.reports
    return 1 if parks_for_good else WINDOW


def _windows(claimed: list[Claimed], size: int = WINDOW) -> Iterator[list[int]]:
    """Ids in the portions they are sent in; whoever stopped a worker before travels alone, and last."""
    company = [one.id for one in claimed if not one.crashes]
    for start in range(0, len(company), size):
        yield company[start : start + size]
    for one in claimed:
        if one.crashes:
            yield [one.id]
