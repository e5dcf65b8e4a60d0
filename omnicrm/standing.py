"""How the house stands: what waits, what is under way, what went wrong, in one look of a dozen short queries.

Read by `manage.py queues` and by /metrics. Every query reads a partial index, a table of a few rows, or
figures workers keep (`campaigns.results`, `campaigns.days`): none goes through messages, so that a look costs
the same at a thousand and at a million of them. Only queues that are long by themselves are counted, up to
MANY.
"""

from dataclasses import asdict, dataclass
from typing import Any

from django.db import connection, transaction

from campaigns import switch
from campaigns.channels import CHANNELS

MANY = 100_000  # From here on a queue is long: nobody needs to know better.
PATIENCE_MS = 2000  # Of each query.


@dataclass(frozen=True)
class Lane:
    """One channel's way out. `due` is counted up to MANY; ages and lags are seconds, 0 when nothing waits."""

    channel: str
    is_on: bool
    why_off: str
    due: int
    oldest_due: float
    leased: int
    sending: int
    in_doubt: int  # Being sent by a worker that has not been heard of for a lease.
    sent_last_minute: int


@dataclass(frozen=True)
class Count:
    """Messages of a channel in a state, as campaigns were last counted."""

    channel: str
    state: str
    messages: int


@dataclass(frozen=True)
class Sent:
    """Messages of a channel sent so far, ever."""

    channel: str
    messages: int


@dataclass(frozen=True)
class Trouble:
    """Messages that failed, or whose fate nobody knows, and since when the longest waiting has."""

    channel: str
    status: str
    reason: str
    messages: int
    oldest: float


@dataclass(frozen=True)
class ProviderState:
    """Whether a provider is used (`closed`), rests (`open`) or is being tried (`probing`)."""

    provider: str
    state: str
    failures: int
    rests_for: float
    detail: str


@dataclass(frozen=True)
class PaceState:
    """A limit of speed: permissions left of one second's worth."""

    key: str
    left: float


@dataclass(frozen=True)
class Inbox:
    """What providers told us: waiting to be counted, given up."""

    waiting: int
    oldest_due: float
    dead: int


@dataclass(frozen=True)
class Imports:
    """Files of one kind: waiting, being read, and rows read ever."""

    kind: str
    queued: int
    running: int
    rows: int


@dataclass(frozen=True)
class Segments:
    """Full counts that are due, by how long at most, and segments whose last count ran out of time."""

    active: int
    due: int
    overdue: float
    timed_out: int


@dataclass(frozen=True)
class Reader:
    """A reader of the event log: the age of the oldest event it has not read, 0 when it has read all."""

    name: str
    lag: float


@dataclass(frozen=True)
class Database:
    """Connections by what they do, the most there may be, the longest transaction, the size in bytes."""

    active: int
    idle: int
    idle_in_transaction: int
    most: int
    longest_transaction: float
    bytes: int


@dataclass(frozen=True)
class Standing:
    lanes: list[Lane]
    messages: list[Count]
    sent: list[Sent]
    trouble: list[Trouble]
    providers: list[ProviderState]
    paces: list[PaceState]
    inbox: Inbox
    imports: list[Imports]
    segments: Segments
    readers: list[Reader]
    database: Database

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


# Both lookups begin at each running campaign, as the claim does; they use message_waiting.
_DUE = """
SELECT channel,
       (SELECT COALESCE(extract(epoch FROM clock_timestamp() - min(first.due_at)), 0)::float8
        FROM campaigns_campaign AS campaign CROSS JOIN LATERAL (
            SELECT due_at FROM campaigns_message
            WHERE campaign_id = campaign.id AND channel = lane.channel AND status = 'planned'
              AND due_at <= now()
            ORDER BY due_at LIMIT 1) AS first
        WHERE campaign.status = 'sending'),
       (SELECT count(*) FROM (
            SELECT 1 FROM campaigns_campaign AS campaign
            JOIN campaigns_message AS message ON message.campaign_id = campaign.id
            WHERE campaign.status = 'sending' AND message.channel = lane.channel
              AND message.status = 'planned' AND message.due_at <= now()
            LIMIT %(many)s) AS few)
FROM unnest(%(channels)s::text[]) AS lane(channel)
"""

# What workers hold: a batch each at most. Uses message_leases.
_HELD = """
SELECT channel, count(*) FILTER (WHERE status = 'leased'),
       count(*) FILTER (WHERE status = 'sending' AND lease_until > clock_timestamp()),
       count(*) FILTER (WHERE status = 'sending' AND lease_until <= clock_timestamp())
FROM campaigns_message WHERE status IN ('leased', 'sending') GROUP BY channel
"""

# Uses event_name_time.
_LAST_MINUTE = """
SELECT channel, count(*) FROM (
    SELECT channel FROM customers_event
    WHERE name = 'Message Sent' AND occurred_at > now() - interval '1 minute' LIMIT %(many)s) AS few
GROUP BY channel
"""

# What workers counted, a row per campaign.
_COUNTED = """
SELECT counted ->> 'channel', part.key, sum(part.value::bigint)::bigint
FROM campaigns_tally AS tally
CROSS JOIN LATERAL jsonb_array_elements(tally.figures -> 'channels') AS of_channel(counted)
CROSS JOIN LATERAL jsonb_each_text(counted -> 'groups') AS part
GROUP BY 1, 2 ORDER BY 1, 2
"""

_SENT = "SELECT channel, sum(sent)::bigint FROM campaigns_campaignday GROUP BY channel ORDER BY channel"

# Uses message_troubled; the times of a few rows are fetched.
_TROUBLE = """
SELECT channel, status, reason, count(*),
       COALESCE(extract(epoch FROM clock_timestamp() - min(settled_at)), 0)::float8
FROM (SELECT channel, status, reason, settled_at FROM campaigns_message
      WHERE status IN ('failed', 'unknown') LIMIT %(many)s) AS few
GROUP BY channel, status, reason ORDER BY channel, status, reason
"""

_PROVIDERS = """
SELECT provider,
       CASE WHEN open_until IS NULL THEN 'closed' WHEN is_probing THEN 'probing' ELSE 'open' END,
       failures, GREATEST(0, COALESCE(extract(epoch FROM open_until - clock_timestamp()), 0))::float8, detail
FROM campaigns_breaker ORDER BY provider
"""

_PACES = "SELECT key, tokens FROM campaigns_pace ORDER BY key LIMIT 100"

# Uses report_due and report_dead.
_INBOX = """
SELECT (SELECT count(*) FROM (SELECT 1 FROM campaigns_providerreport
                              WHERE processed_at IS NULL AND dead_at IS NULL LIMIT %(many)s) AS few),
       (SELECT COALESCE(extract(epoch FROM clock_timestamp() - min(due_at)), 0)::float8
        FROM campaigns_providerreport
        WHERE processed_at IS NULL AND dead_at IS NULL AND due_at <= now()),
       (SELECT count(*) FROM (SELECT 1 FROM campaigns_providerreport
                              WHERE dead_at IS NOT NULL LIMIT %(many)s) AS few)
"""

_IMPORTS = """
SELECT kind, count(*) FILTER (WHERE status = 'queued'), count(*) FILTER (WHERE status = 'running'),
       COALESCE(sum(rows), 0)::bigint
FROM customers_importjob GROUP BY kind ORDER BY kind
"""

_SEGMENTS = """
SELECT count(*), count(*) FILTER (WHERE due_at IS NULL OR due_at <= now()),
       GREATEST(0, COALESCE(extract(epoch FROM clock_timestamp() - min(due_at)), 0))::float8,
       count(*) FILTER (WHERE count_failed_at > COALESCE(counted_at, '-infinity'))
FROM segments_segment WHERE archived_at IS NULL
"""

# Uses event_log_order.
_READERS = """
SELECT reader.name, COALESCE(extract(epoch FROM clock_timestamp() - next.received_at), 0)::float8
FROM core_cursor AS reader LEFT JOIN LATERAL (
    SELECT received_at FROM customers_event AS event
    WHERE (event.tx, event.id) > (reader.tx, reader.event_id) ORDER BY event.tx, event.id LIMIT 1
) AS next ON true ORDER BY reader.name
"""

_DATABASE = """
SELECT count(*) FILTER (WHERE state = 'active'), count(*) FILTER (WHERE state = 'idle'),
       count(*) FILTER (WHERE state LIKE 'idle in transaction%%'),
       current_setting('max_connections')::int,
       COALESCE(extract(epoch FROM clock_timestamp() - min(xact_start)
                        FILTER (WHERE pid <> pg_backend_pid())), 0)::float8,
       pg_database_size(current_database())
FROM pg_stat_activity WHERE datname = current_database()
"""


def look() -> Standing:
    """How everything stands now. Raises DatabaseError when the database is away or too busy."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(PATIENCE_MS)])
        return Standing(
            lanes=_lanes(),
            messages=[Count(*row) for row in _rows(_COUNTED)],
            sent=[Sent(*row) for row in _rows(_SENT)],
            trouble=[Trouble(*row) for row in _rows(_TROUBLE)],
            providers=[ProviderState(*row) for row in _rows(_PROVIDERS)],
            paces=[PaceState(*row) for row in _rows(_PACES)],
            inbox=Inbox(*_rows(_INBOX)[0]),
            imports=[Imports(*row) for row in _rows(_IMPORTS)],
            segments=Segments(*_rows(_SEGMENTS)[0]),
            readers=[Reader(*row) for row in _rows(_READERS)],
            database=Database(*_rows(_DATABASE)[0]),
        )


def _lanes() -> list[Lane]:
    due = {channel: rest for channel, *rest in _rows(_DUE)}
    held = {channel: rest for channel, *rest in _rows(_HELD)}
    sent = dict(_rows(_LAST_MINUTE))
    lanes = []
    for channel in CHANNELS:
        off = switch.why_off([channel])
        oldest, waiting = due[channel]
        leased, sending, in_doubt = held.get(channel, (0, 0, 0))
        lanes.append(
            Lane(
                channel=str(channel),
                is_on=off is None,
                why_off=off.words if off else "",
                due=waiting,
                oldest_due=oldest,
                leased=leased,
                sending=sending,
                in_doubt=in_doubt,
                sent_last_minute=sent.get(channel, 0),
            )
        )
    return lanes


def _rows(sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, {"many": MANY, "channels": [str(channel) for channel in CHANNELS]})
        return cursor.fetchall()
