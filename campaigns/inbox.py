"""The way in for what providers tell us: one inbox for all of them, each event once.

Whoever takes a report checks it, stores it here and answers at once; campaigns.reports makes it count.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite
from typing import Any

import structlog
from django.db import connection
from django.utils.timezone import now

from .models import ProviderReport

log = structlog.get_logger(__name__)

Kind = ProviderReport.Kind
MAX_PAYLOAD = 4000  # Characters of JSON.

# In one order, so that two webhooks with the same events never wait for each other.
_STORE = """
INSERT INTO campaigns_providerreport
    (provider, channel, kind, event_id, message, ref, address, occurred_at, reason, detail, parts,
     cost_micros, currency, properties, payload, payload_hash)
SELECT * FROM jsonb_to_recordset(%s::jsonb) AS told(
    provider text, channel text, kind text, event_id text, message bigint, ref text, address text,
    occurred_at timestamptz, reason text, detail text, parts smallint, cost_micros bigint, currency text,
    properties jsonb, payload jsonb, payload_hash text)
ORDER BY provider, event_id
ON CONFLICT (provider, event_id) DO NOTHING
"""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One thing a provider told us, checked and understood.

    `event_id` names it among all of this provider's, so that a repeat is known as one; `message` is our id
    when the report carries it, `ref` the provider's. `cost_micros` are millionths of a unit of `currency`.
    """

    provider: str
    channel: str
    kind: str
    event_id: str
    message: int | None = None
    ref: str = ""
    address: str = ""
    occurred_at: datetime | None = None
    reason: str = ""
    detail: str = ""
    parts: int | None = None
    cost_micros: int | None = None
    currency: str = ""
    properties: dict[str, Any] = field(default_factory=dict)
    payload: Any = field(default_factory=dict)


def receive(notices: Iterable[Notice]) -> None:
    """Store what providers said; what is known already changes nothing. Answer them only after this."""
    rows = [_row(notice) for notice in notices]
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(_STORE, [json.dumps(rows)])


def bury(*, provider: str, channel: str, body: bytes, error: Exception) -> None:
    """Keep a genuine report nobody could read where people see it, with why; it is not tried again."""
    digest = hashlib.sha256(body).hexdigest()
    row = ProviderReport(
        provider=provider,
        channel=channel,
        kind=Kind.UNREADABLE,
        event_id=digest,
        payload={"body": clean(body.decode(errors="replace"), MAX_PAYLOAD)},
        payload_hash=digest,
        occurred_at=now(),
        dead_at=now(),
        problem=ProviderReport.Problem.UNREADABLE,
        error=clean(error, 300),
    )
    ProviderReport.objects.bulk_create([row], ignore_conflicts=True)
    log.warning("report_unreadable", provider=provider)


def clean(text: Any, size: int) -> str:
    """What PostgreSQL can keep of a stranger's text: no NUL, no half characters, at most `size` of them."""
    return str(text or "").replace("\0", "").encode(errors="replace").decode()[:size]


def _row(notice: Notice) -> dict[str, Any]:
    """A notice as the table keeps it: cleaned and cut to size."""
    body = json.dumps(notice.payload, default=str, sort_keys=True)
    moment = notice.occurred_at or now()
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    event_id = clean(notice.event_id, 10_000)
    is_short = len(body) <= MAX_PAYLOAD
    return {
        "provider": notice.provider,
        "channel": notice.channel,
        "kind": Kind(notice.kind),
        "event_id": event_id if len(event_id) <= 100 else hashlib.sha256(event_id.encode()).hexdigest(),
        "message": notice.message,
        "ref": clean(notice.ref, 100),
        "address": clean(notice.address, 254),
        "occurred_at": min(moment, now()).isoformat(),
        "reason": notice.reason,
        "detail": clean(notice.detail, 300),
        "parts": notice.parts,
        "cost_micros": notice.cost_micros,
        "currency": clean(notice.currency, 3),
        "properties": _clean_json(notice.properties),
        "payload": _clean_json(notice.payload) if is_short else {"cut": clean(body, MAX_PAYLOAD)},
        "payload_hash": hashlib.sha256(body.encode(errors="replace")).hexdigest(),
    }


def _clean_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {clean(key, 200): _clean_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean_json(item) for item in value]
    if isinstance(value, int | None) or (isinstance(value, float) and isfinite(value)):
        return value
    return clean(value, MAX_PAYLOAD)
