"""The outbox as a queue: claim, release, fence, mark, recover. Each is one transaction, safe to repeat."""

import json
import re
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from django.conf import settings
from django.db import connection, transaction

from customers import events
from customers.contact import contacts_params, contacts_sql
from customers.models import Suppression
from customers.services import suppress_address

from .channels import CHANNELS
from .channels.base import Outcome
from .gates import DUE_AT, REASON, SAME_ADDRESS
from .limits import AT_THE_FENCE, ONE_AT_A_TIME
from .logbook import Word
from .models import Message
from .rendering import Outgoing
from .templates import TRAITS

MAX_ATTEMPTS = 8
MAX_CRASHES = 3  # Workers that died over one message before it is set aside.
_PARAMETER = re.compile(r"%\((\w+)\)s")

# Of every running campaign the next of its own, then the earliest of all; uses message_waiting. SKIP LOCKED
# lets any number of workers claim side by side. Joined to `due`, the whole table would be read as long as it
# is small; asked for as an array, its rows are found by the primary key.
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
FROM campaigns_campaign AS campaign
WHERE message.id = ANY (ARRAY(SELECT id FROM due)) AND campaign.id = message.campaign_id
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

# record_consent locks the customer FOR UPDATE: whoever comes first is seen by the other. Only then, in one
# order too, the limits' own lock.
_HOLD_PEOPLE = f"""
WITH held AS (
    SELECT id FROM customers_customer
    WHERE id IN (SELECT customer_id FROM campaigns_message WHERE id = ANY(%(ids)s::bigint[]))
    ORDER BY id FOR KEY SHARE
)
{ONE_AT_A_TIME}
"""  # noqa: S608 - pieces of ours

# These run thousands of times with a few ids: planning them anew each time costs more than running them, and
# each row is found by an index, whatever the planner guesses of tables that were empty a minute ago.
_PLAN_ONCE = """
SELECT set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true)
"""

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
judged AS MATERIALIZED (  -- Else every column that asks for a verdict works it out again.
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
    sending_at = CASE WHEN verdict = '' AND may_go THEN clock_timestamp() END, called_at = NULL,
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
    SELECT * FROM json_to_recordset(%(outcomes)s::json)
        AS outcome(id bigint, status text, reason text, detail text, ref text)
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

# Opened with the fence and closed with the last mark; what is between them is written by logbook.Log.
_OPEN_LOG = """
INSERT INTO campaigns_logbook (owner, provider, settled, begun, unsent, sent, refs)
VALUES (%(owner)s, %(provider)s, 0, %(begun)s, %(unsent)s::bigint[], '{}', '{}')
ON CONFLICT (owner) DO UPDATE SET
    provider = EXCLUDED.provider, settled = 0, begun = EXCLUDED.begun,
    unsent = EXCLUDED.unsent, sent = '{}', refs = '{}'
"""
_CLOSE_LOG = "DELETE FROM campaigns_logbook WHERE owner = %(owner)s"

# Of a message 'sending' and the log of its worker; one of the version before names all it sent in `sent`.
_IS_SENT = """
(message.id = ANY (logbook.sent) OR message.id <= logbook.settled AND message.id <> ALL (logbook.unsent))
"""
_IS_BEGUN = "(message.id <= logbook.begun OR message.id = ANY (logbook.unsent))"

# What workers knew to have been sent when they died; uses message_leases, as the next does.
_LEFT_IN_LOGS = f"""
SELECT message.owner, logbook.provider, message.id,
       COALESCE(logbook.refs[array_position(logbook.sent, message.id)], '')
FROM campaigns_message AS message
JOIN campaigns_logbook AS logbook ON logbook.owner = message.owner
WHERE message.status = 'sending' AND message.lease_until < clock_timestamp() AND {_IS_SENT}
ORDER BY message.owner, message.id
"""  # noqa: S608 - pieces of ours
_DROP_LOGS = """
DELETE FROM campaigns_logbook AS logbook
WHERE NOT EXISTS (SELECT FROM campaigns_message AS message
                  WHERE message.status IN ('leased', 'sending') AND message.owner = logbook.owner)
"""

# A lease may have ended because PostgreSQL was away: whoever is alive gets some time to say what was sent,
# from the first moment at which that can be written again.
_CALL = """
UPDATE campaigns_message SET called_at = clock_timestamp()
WHERE id IN (
    SELECT id FROM campaigns_message
    WHERE status = 'sending' AND lease_until < clock_timestamp() AND called_at IS NULL
    ORDER BY id FOR UPDATE SKIP LOCKED
)
"""

# What was not begun waits again. What was may be sent again under the same Message-ID where the channel
# allows that, alone from then on; elsewhere it parks until its report arrives. Without a log, all was begun.
_RECOVER = f"""
WITH lapsed AS (
    SELECT message.id, message.channel, message.attempts, message.crashes,
           message.status = 'sending' AND COALESCE({_IS_BEGUN}, true) AS is_begun
    FROM campaigns_message AS message
    LEFT JOIN campaigns_logbook AS logbook ON logbook.owner = message.owner
    WHERE message.status IN ('leased', 'sending') AND message.lease_until < clock_timestamp()
      AND (message.status = 'leased'
           OR message.called_at <= clock_timestamp() - make_interval(secs => %(grace)s))
      AND (message.status = 'leased' OR COALESCE(NOT {_IS_SENT}, true))
    ORDER BY message.id FOR UPDATE OF message SKIP LOCKED
),
judged AS (
    SELECT id, is_begun, is_begun AND channel = ANY(%(parking)s) AS parks,
           is_begun AND crashes + 1 >= %(max_crashes)s AS is_poison,
           is_begun AND attempts >= %(max_attempts)s AS is_spent
    FROM lapsed
)
UPDATE campaigns_message AS message SET
    status = CASE WHEN parks THEN 'unknown' WHEN is_poison OR is_spent THEN 'failed' ELSE 'planned' END,
    reason = CASE WHEN parks THEN 'no_answer' WHEN is_poison THEN 'poison'
                  WHEN is_spent THEN 'provider_error' ELSE '' END,
    crashes = crashes + CASE WHEN is_begun THEN 1 ELSE 0 END,
    attempts = attempts - CASE WHEN status = 'sending' AND NOT is_begun THEN 1 ELSE 0 END,
    settled_at = CASE WHEN parks OR is_poison OR is_spent THEN now() END,
    owner = NULL, lease_until = NULL
FROM judged WHERE message.id = judged.id
"""  # noqa: S608 - pieces of ours


class Claimed(NamedTuple):
    """A leased message, and what decides when and in what company it is sent."""

    id: int
    crashes: int
    campaign_id: int
    throttle_per_hour: int | None
    domain: str


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
    return mark_and_fence(owner, "", [], ids, tuple(CHANNELS), Word(begun=max(ids, default=0)))


def mark(owner: UUID, outcomes: Iterable[Outcome], *, provider: str = "") -> None:
    """Write what became of messages this owner was sending, and tell the event log."""
    mark_and_fence(owner, provider, list(outcomes), [], (), Word())


def close_log(owner: UUID) -> None:
    """Forget how far a worker got, once all it did is marked."""
    with connection.cursor() as cursor:
        cursor.execute(_CLOSE_LOG, {"owner": owner})


def believe_logs() -> None:
    """Mark what workers that died had noted as sent."""
    with connection.cursor() as cursor:
        cursor.execute(_LEFT_IN_LOGS)
        for (owner, provider), rows in groupby(cursor.fetchall(), key=itemgetter(0, 1)):
            sent = [Outcome(pk, Message.Status.SENT, ref=ref) for _, _, pk, ref in rows]
            mark(owner, sent, provider=provider)


def recover_leases() -> int:
    """Put back what dead workers held: unsent messages wait again, doubtful ones follow their channel.

    Doubtful ones only RECOVERY_GRACE_SECONDS after they were first found, by this or an earlier call.
    """
    believe_logs()
    params = {
        "parking": settings.PARK_WHEN_IN_DOUBT,
        "max_attempts": MAX_ATTEMPTS,
        "max_crashes": MAX_CRASHES,
        "grace": settings.RECOVERY_GRACE_SECONDS,
    }
    with connection.cursor() as cursor:
        cursor.execute(_CALL)
        cursor.execute(_RECOVER, params)
        recovered = cursor.rowcount
        cursor.execute(_DROP_LOGS)
    return recovered


def mark_and_fence(
    owner: UUID,
    provider: str,
    done: list[Outcome],
    ids: Sequence[int],
    channels: tuple[str, ...],
    word: Word,
) -> list[Outgoing]:
    """Both steps in one transaction; `channels` are those of the ids, with `word` the log is opened.

    A pipeline of psycopg's is a transaction of its own, which takes one trip to the database, begin and
    commit included (PostgreSQL's documentation, 34.5.1.1). Only bounces take more.
    """
    bounced = [outcome.message_id for outcome in done if outcome.status == Message.Status.BOUNCED]
    with transaction.atomic() if bounced else nullcontext():
        rows = _pipelined(owner, provider, done, ids, channels, word)
        if bounced:
            _suppress(bounced)
    return [_outgoing(row) for row in sorted(rows) if row[1] == Message.Status.SENDING]


def _suppress(bounced: list[int]) -> None:
    for channel, address in Message.objects.filter(pk__in=bounced).values_list("channel", "address"):
        suppress_address(channel=channel, address=address, reason=Suppression.Reason.BOUNCED)


def _pipelined(
    owner: UUID,
    provider: str,
    done: list[Outcome],
    ids: Sequence[int],
    channels: tuple[str, ...],
    word: Word,
) -> list[tuple[Any, ...]]:
    """Mark, hold, fence; returns the fence's verdicts."""
    connection.ensure_connection()
    database = connection.connection
    with connection.wrap_database_errors, database.pipeline():
        _run(database, _PLAN_ONCE, {})
        if done:
            _run(database, _MARK, _mark_params(owner, provider, done))
        if ids:
            opened = {"begun": word.begun, "unsent": _array(word.unsent)}
            _run(database, _OPEN_LOG, {"owner": owner, "provider": provider} | opened)
            params: dict[str, Any] = {
                "ids": _array(ids),
                "owner": owner,
                "lease": settings.MESSAGE_LEASE_SECONDS,
            }
            _run(database, _HOLD_PEOPLE, params)
            verdicts = _run(database, _fence_sql(channels), contacts_params(channels) | params)
    return verdicts.fetchall() if ids else []


@cache
def _fence_sql(channels: tuple[str, ...]) -> str:
    return _FENCE.format(
        contacts=contacts_sql("people", of=channels),
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


def _run(database: Any, statement: str, params: dict[str, Any]) -> "psycopg.RawCursor[tuple[Any, ...]]":
    """A prepared statement with server-side parameters, past the ORM, which is not read anew each time."""
    database.prepare_threshold = 1_000_000  # Django's None forbids preparing even what asks for it.
    text, names = _numbered(statement)
    return psycopg.RawCursor(database).execute(text, [params[name] for name in names], prepare=True)


@cache
def _numbered(statement: str) -> tuple[str, tuple[str, ...]]:
    """A statement with $1, $2 in place of its named parameters, and their names in that order."""
    names: dict[str, str] = {}
    text = _PARAMETER.sub(lambda match: names.setdefault(match[1], f"${len(names) + 1}"), statement)
    return text, tuple(names)


def _array(ids: Sequence[int]) -> str:
    """As PostgreSQL writes one, which is quicker said than a list is adapted."""
    return f"{{{','.join(map(str, ids))}}}"


def _mark_params(owner: UUID, provider: str, outcomes: list[Outcome]) -> dict[str, Any]:
    return {
        "owner": owner,
        "provider": provider,
        "outcomes": json.dumps([_told(outcome) for outcome in outcomes]),
        "max_attempts": MAX_ATTEMPTS,
        "sent": events.MESSAGE_SENT,
        "bounced": events.MESSAGE_BOUNCED,
    }


def _told(outcome: Outcome) -> dict[str, Any]:
    return {
        "id": outcome.message_id,
        "status": outcome.status,
        "reason": outcome.reason,
        "detail": outcome.detail.replace("\0", "")[:300],
        "ref": outcome.ref,
    }


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
