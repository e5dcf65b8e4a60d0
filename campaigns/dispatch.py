"""Claim, fence, send, mark: how a planned message leaves the house.

A worker claims a batch under a lease, then takes it in small windows: fence (every gate again, committed),
wire, mark. Killed anywhere, it leaves at most one window in doubt; a lease that runs out is found by the
next worker. No transaction is open while a provider is asked.
"""

import time
from collections.abc import Iterable
from itertools import islice
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection, transaction

from customers import events
from customers.contact import contacts_params, contacts_sql
from customers.models import Suppression
from customers.services import suppress_address

from .channels import CHANNELS
from .channels.base import Outcome
from .gates import DUE_AT, REASON
from .rendering import load_outgoing

log = structlog.get_logger(__name__)

WINDOW = 8  # Messages in doubt when a worker is killed.
MAX_ATTEMPTS = 5

# Uses message_due; SKIP LOCKED lets any number of workers claim side by side.
_CLAIM = """
UPDATE campaigns_message SET status = 'leased', owner = %(owner)s, reason = '',
       lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
WHERE id IN (
    SELECT message.id FROM campaigns_message AS message
    JOIN campaigns_campaign AS campaign ON campaign.id = message.campaign_id
    WHERE message.status = 'planned' AND message.due_at <= now() AND campaign.status = 'sending'
    ORDER BY message.due_at, message.id LIMIT %(limit)s
    FOR UPDATE OF message SKIP LOCKED
)
RETURNING id, channel
"""

_RELEASE = """
UPDATE campaigns_message SET status = 'planned', owner = NULL, lease_until = NULL
WHERE id = ANY(%(ids)s) AND owner = %(owner)s AND status = 'leased'
"""

# record_consent locks the customer FOR UPDATE: whoever comes first is seen by the other.
_HOLD_PEOPLE = """
SELECT 1 FROM customers_customer
WHERE id IN (SELECT customer_id FROM campaigns_message WHERE id = ANY(%(ids)s))
ORDER BY id FOR KEY SHARE
"""

# Accepts our own 'sending' rows, so a fence whose commit reply was lost may be repeated.
_FENCE = """
WITH mine AS (
    SELECT id, campaign_id, customer_id, channel FROM campaigns_message
    WHERE id = ANY(%(ids)s) AND owner = %(owner)s AND lease_until > clock_timestamp()
      AND status IN ('leased', 'sending')
    ORDER BY id FOR UPDATE
),
people AS (SELECT DISTINCT customer_id AS id FROM mine),
contact AS ({contacts}),
candidate AS (
    SELECT mine.id, contact.address, contact.consent, contact.suppression, campaign.expires_at,
           campaign.status AS campaign_status, {due_at} AS due_at
    FROM mine
    JOIN contact ON contact.customer_id = mine.customer_id AND contact.channel = mine.channel
    JOIN customers_customer AS customer ON customer.id = mine.customer_id
    JOIN campaigns_campaign AS campaign ON campaign.id = mine.campaign_id
    JOIN campaigns_brand AS brand ON brand.id = campaign.brand_id
),
judged AS (
    SELECT id, address, due_at,
        CASE campaign_status WHEN 'cancelled' THEN 'cancelled' ELSE {reason} END AS reason,
        campaign_status = 'sending' AND due_at <= now() AS may_go
    FROM candidate
)
UPDATE campaigns_message AS message SET
    status = CASE WHEN judged.reason <> '' THEN 'suppressed' WHEN may_go THEN 'sending' ELSE 'planned' END,
    reason = CASE WHEN judged.reason <> '' THEN judged.reason
                  WHEN judged.due_at > now() THEN 'quiet_hours' ELSE '' END,
    address = COALESCE(judged.address, ''),
    due_at = judged.due_at,
    owner = CASE WHEN judged.reason = '' AND may_go THEN message.owner END,
    lease_until = CASE WHEN judged.reason = '' AND may_go
                       THEN clock_timestamp() + make_interval(secs => %(lease)s) END,
    sending_at = CASE WHEN judged.reason = '' AND may_go THEN clock_timestamp() END,
    attempts = message.attempts + CASE WHEN judged.reason = '' AND may_go THEN 1 ELSE 0 END,
    settled_at = CASE WHEN judged.reason <> '' THEN now() END
FROM judged WHERE message.id = judged.id
RETURNING message.id, message.status
"""

# Only the owner marks, and only what it is sending: a worker that woke up late changes nothing.
_MARK = """
WITH outcome AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(statuses)s::text[], %(reasons)s::text[], %(details)s::text[],
                         %(refs)s::text[]) AS outcome(id, status, reason, detail, ref)
),
marked AS (
    UPDATE campaigns_message AS message SET
        status = CASE WHEN outcome.status <> 'planned' THEN outcome.status
                      WHEN message.attempts >= %(max_attempts)s THEN 'failed' ELSE 'planned' END,
        reason = outcome.reason, detail = outcome.detail, provider_ref = outcome.ref,
        due_at = CASE outcome.status WHEN 'planned'
                 THEN now() + make_interval(secs => 30 * 2 ^ message.attempts * (0.5 + random()))
                 ELSE message.due_at END,
        sent_at = CASE outcome.status WHEN 'sent' THEN clock_timestamp() END,
        settled_at = CASE WHEN outcome.status <> 'planned' THEN clock_timestamp() END,
        owner = NULL, lease_until = NULL
    FROM outcome
    WHERE message.id = outcome.id AND message.owner = %(owner)s AND message.status = 'sending'
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

# A mail may be sent again under the same Message-ID; a text message parks until its report arrives.
_RECOVER = """
UPDATE campaigns_message SET
    status = CASE WHEN status = 'sending' AND channel <> 'email' THEN 'unknown'
                  WHEN attempts >= %(max_attempts)s THEN 'failed' ELSE 'planned' END,
    reason = CASE WHEN status = 'sending' AND channel <> 'email' THEN 'no_answer'
                  WHEN attempts >= %(max_attempts)s THEN 'provider_error' ELSE '' END,
    settled_at = CASE WHEN (status = 'sending' AND channel <> 'email') OR attempts >= %(max_attempts)s
                      THEN now() END,
    owner = NULL, lease_until = NULL
WHERE id IN (
    SELECT id FROM campaigns_message
    WHERE status IN ('leased', 'sending') AND lease_until < clock_timestamp()
    ORDER BY id FOR UPDATE SKIP LOCKED
)
"""


def dispatch_batch(*, owner: UUID, limit: int = 200) -> int:
    """Claim, fence, send and mark one batch; returns how many were claimed. `owner` names this worker."""
    deadline = _safe_until()
    claimed = claim(owner, limit)
    for channel, ids in claimed.items():
        with CHANNELS[channel].provider() as provider:
            for window in _windows(ids):
                if time.monotonic() > deadline:  # The leases may end before their turn comes.
                    release(owner, window)
                else:
                    _send_window(provider, owner, window)
    return sum(map(len, claimed.values()))


def claim(owner: UUID, limit: int) -> dict[str, list[int]]:
    """Lease up to `limit` due messages of running campaigns: channel to message ids."""
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, {"owner": owner, "limit": limit, "lease": settings.MESSAGE_LEASE_SECONDS})
        claimed: dict[str, list[int]] = {}
        for message_id, channel in sorted(cursor.fetchall()):
            claimed.setdefault(channel, []).append(message_id)
    return claimed


def release(owner: UUID, ids: list[int]) -> None:
    """Give back messages this worker leased and did not fence: they wait for the next claim."""
    with connection.cursor() as cursor:
        cursor.execute(_RELEASE, {"owner": owner, "ids": ids})


def fence(owner: UUID, ids: list[int]) -> list[int]:
    """Judge leased messages once more and commit the verdict; returns those that may go on the wire."""
    sql = _FENCE.format(contacts=contacts_sql("people"), due_at=DUE_AT.format(moment="now()"), reason=REASON)
    params = contacts_params(list(CHANNELS)) | {
        "ids": ids,
        "owner": owner,
        "lease": settings.MESSAGE_LEASE_SECONDS,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_HOLD_PEOPLE, {"ids": ids})
        cursor.execute(sql, params)
        return sorted(message_id for message_id, status in cursor.fetchall() if status == "sending")


def mark(owner: UUID, outcomes: Iterable[Outcome]) -> None:
    """Write what became of messages this owner was sending, and tell the event log."""
    outcomes = list(outcomes)
    params: dict[str, Any] = {
        "owner": owner,
        "ids": [outcome.message_id for outcome in outcomes],
        "statuses": [outcome.status for outcome in outcomes],
        "reasons": [outcome.reason for outcome in outcomes],
        "details": [outcome.detail[:300] for outcome in outcomes],
        "refs": [outcome.ref for outcome in outcomes],
        "max_attempts": MAX_ATTEMPTS,
        "sent": events.MESSAGE_SENT,
        "bounced": events.MESSAGE_BOUNCED,
    }
    with connection.cursor() as cursor:
        cursor.execute(_MARK, params)


def recover_leases() -> int:
    """Put back what dead workers held: unsent messages wait again, doubtful ones follow their channel."""
    with connection.cursor() as cursor:
        cursor.execute(_RECOVER, {"max_attempts": MAX_ATTEMPTS})
        return cursor.rowcount


def _send_window(provider: Any, owner: UUID, ids: list[int]) -> None:
    deadline = _safe_until()
    outgoing = {message.id: message for message in load_outgoing(fence(owner, ids))}
    if not outgoing:
        return
    outcomes = list(provider.send(list(outgoing.values()), deadline=deadline))
    with transaction.atomic():
        mark(owner, outcomes)
        for outcome in outcomes:
            if outcome.status == "bounced":
                bounced = outgoing[outcome.message_id]
                suppress_address(
                    channel=bounced.channel, address=bounced.address, reason=Suppression.Reason.BOUNCED
                )


def _safe_until() -> float:
    """Until when (time.monotonic) a lease taken now is surely ours; later, others may believe us dead."""
    return time.monotonic() + settings.MESSAGE_LEASE_SECONDS / 2


def _windows(ids: list[int]) -> Iterable[list[int]]:
    iterator = iter(ids)
    while window := list(islice(iterator, WINDOW)):
        yield window
