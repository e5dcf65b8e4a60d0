"""Text messages through Twilio's API, or any that speaks it (TWILIO_BASE_URL).

Format: https://www.twilio.com/docs/messaging/api/message-resource; error codes:
https://www.twilio.com/docs/api/errors; signatures: https://www.twilio.com/docs/usage/security.
"""

import hmac
from base64 import b64encode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin

import requests
from django.conf import settings
from django.utils.translation import gettext as _

from .. import inbox
from ..launches import launch_of
from ..models import Message, ProviderReport
from ..rendering import Outgoing, public_url
from .base import Outcome, Provider
from .web import TIMEOUT, InDoubt, WebProvider, never_left

NAME = "twilio"
Kind, Reason = ProviderReport.Kind, Message.Reason

# What the number is not: one a text message reaches.
_BAD_NUMBER = {21211, 21214, 21217, 21265, 21614, 30005, 30006}
_UNSUBSCRIBED = {21610}
# About our account, our sender or how fast we are: any other message would meet the same.
_ABOUT_US = {
    *(20003, 20005, 20008, 20403, 20404, 20429, 21212, 21603, 21606, 21611, 21659, 21660),
    *(21701, 21702, 21703, 21704, 21705, 30001, 30002, 30022),
}
_TOOK_FOR_SPAM = {30004, 30007, 30038}
_NOT_NOW = {30003, 30008, 30017, 30410}  # Switched off or out of reach, or nobody knows.

_STATUS = {
    **dict.fromkeys(("accepted", "scheduled", "queued", "sending", "sent"), Kind.SENT),
    **dict.fromkeys(("delivered", "read"), Kind.DELIVERED),
    **dict.fromkeys(("undelivered", "failed", "canceled"), Kind.FAILED),
}


class TwilioProvider(WebProvider):
    """Twilio's Messages resource. No idempotency key there: what is in doubt is not handed over again."""

    name = NAME

    def connect(self) -> requests.Session:
        return _session()

    def write(self, outgoing: Outgoing) -> dict[str, str]:
        launch = launch_of(outgoing.content_id, outgoing.revision)
        return {
            **_from(launch.sender_address),
            "To": outgoing.address,
            "Body": launch.text(outgoing),
            "StatusCallback": public_url("campaigns:twilio_status", outgoing.id),
        }

    def hand_over(self, line: requests.Session, outgoing: Outgoing, written: Any) -> Outcome:
        try:
            answer = line.post(_messages_url(), data=written, timeout=TIMEOUT, allow_redirects=False)
        except requests.RequestException as error:
            if never_left(error):
                return Outcome(outgoing.id, "planned", Reason.PROVIDER_ERROR, _words(error))
            raise InDoubt from error
        if answer.status_code in (502, 504):  # A gateway that lost its patience: Twilio may have taken it.
            raise InDoubt
        said = _json(answer)
        if answer.ok and said.get("sid"):
            return Outcome(outgoing.id, "sent", ref=str(said["sid"]))
        return refusal(outgoing.id, answer.status_code, said)

    def send(self, batch: list[Outgoing], *, deadline: float) -> Iterator[Outcome]:
        for outcome in super().send(batch, deadline=deadline):
            if outcome.reason == Reason.REVOKED:
                inbox.receive([_stopped(outcome.message_id, outcome.detail)])
            yield outcome


def refusal(message_id: int, status: int, said: Mapping[str, Any]) -> Outcome:
    """What an error answer means for the message."""
    code = _number(said.get("code"))
    detail = f"{code or status} {said.get('message', '')}".strip()
    if code in _BAD_NUMBER:
        return Outcome(message_id, "bounced", Reason.BAD_ADDRESS, detail)
    if code in _UNSUBSCRIBED:
        return Outcome(message_id, "failed", Reason.REVOKED, detail)
    if code in _ABOUT_US or status in (401, 403, 404, 408, 429) or status >= 500 or not code:
        return Outcome(message_id, "planned", Reason.PROVIDER_ERROR, detail)
    return Outcome(message_id, "failed", Reason.REFUSED, detail)


def provider() -> Provider:
    """Twilio."""
    return TwilioProvider()


def send_test(written: Any, sender: str, to: str) -> str:
    """Send a trial text; returns why it could not be sent, or an empty string."""
    with _session() as line:
        try:
            data = {**_from(sender), "To": to, "Body": written}
            answer = line.post(_messages_url(), data=data, timeout=TIMEOUT, allow_redirects=False)
        except requests.RequestException as error:
            return _("The provider did not answer.") if not never_left(error) else _words(error)
    said = _json(answer)
    return "" if answer.ok else str(said.get("message") or answer.reason)


# --- what Twilio tells us ------------------------------------------------------------------------


def is_genuine(path: str, fields: Mapping[str, list[str]], signature: str) -> bool:
    """Whether Twilio signed this: HMAC-SHA1 over the address it was given and the sorted fields.

    `path` is the address below PUBLIC_URL with its query; whatever proxies stand in front, that is the one
    Twilio knows.
    """
    signed = settings.PUBLIC_URL.rstrip("/") + path
    signed += "".join(name + value for name in sorted(fields) for value in sorted(set(fields[name])))
    digest = hmac.digest(settings.TWILIO_AUTH_TOKEN.encode(), signed.encode(), "sha1")
    return bool(settings.TWILIO_AUTH_TOKEN) and hmac.compare_digest(
        b64encode(digest), signature.encode(errors="replace")
    )


def status_notices(message_id: int, fields: Mapping[str, str]) -> list[inbox.Notice]:
    """What a status callback says; nothing when it is about something else than a status."""
    status = fields.get("MessageStatus") or fields.get("SmsStatus", "")
    sid = fields.get("MessageSid") or fields.get("SmsSid", "")
    return _notices(message_id, sid, status, fields.get("ErrorCode"), "", dict(fields))


def _notices(
    message_id: int | None, sid: str, status: str, error: Any, words: str, payload: dict[str, Any]
) -> list[inbox.Notice]:
    kind: str | None = _STATUS.get(status)
    if kind is None or not sid:
        return []
    code, reason, detail = _number(error), "", ""
    if kind == Kind.FAILED:
        kind, reason = _failure(code)
        detail = " ".join(filter(None, (str(code or ""), words or status)))
    return [
        inbox.Notice(
            provider=NAME,
            channel="sms",
            kind=kind,
            event_id=f"{sid}:{status}",
            message=message_id,
            ref=sid,
            reason=reason,
            detail=detail,
            payload=payload,
        )
    ]


def _failure(code: int) -> tuple[str, str]:
    """The kind and the Message.Reason of a final failure."""
    if code in _BAD_NUMBER:
        return Kind.BOUNCED, Reason.BAD_ADDRESS
    if code in _UNSUBSCRIBED:
        return Kind.FAILED, Reason.REVOKED
    if code in _NOT_NOW:
        return Kind.SOFT_BOUNCED, Reason.REFUSED
    return Kind.FAILED, Reason.SPAM if code in _TOOK_FOR_SPAM else Reason.REFUSED


def _stopped(message_id: int, detail: str) -> inbox.Notice:
    """The person answered STOP to Twilio, which sends them nothing more."""
    return inbox.Notice(
        provider=NAME,
        channel="sms",
        kind=Kind.FAILED,
        event_id=f"{message_id}:stopped",
        message=message_id,
        reason=Reason.REVOKED,
        detail=detail,
    )


# --- prices --------------------------------------------------------------------------------------


def sent_between(start: datetime, end: datetime, *, pages: int) -> Iterator[list[inbox.Notice]]:
    """What Twilio's list says of texts sent in a span, page by page: their status, parts and price.

    Prices are not in the callbacks and come some time after the message; statuses are told again, which
    brings home those whose callback was lost. Raises requests.RequestException.
    """
    address: str | None = _messages_url()
    params: dict[str, Any] | None = {
        "DateSent>": _moment(start),
        "DateSent<": _moment(end),
        "PageSize": 1000,
    }
    with _session() as line:
        for _page in range(pages):
            if not address:
                return
            answer = line.get(address, params=params, timeout=TIMEOUT, allow_redirects=False)
            answer.raise_for_status()
            said = _json(answer)
            yield [notice for row in said.get("messages", []) for notice in _listed(row)]
            following = said.get("next_page_uri")
            address, params = (urljoin(settings.TWILIO_BASE_URL, following) if following else None), None


def _listed(row: dict[str, Any]) -> Iterator[inbox.Notice]:
    if not str(row.get("direction", "")).startswith("outbound"):
        return
    sid, status = str(row.get("sid", "")), str(row.get("status", ""))
    payload = {key: row.get(key) for key in ("sid", "status", "error_code", "date_sent")}
    words = str(row.get("error_message") or "")
    if status in ("delivered", "undelivered", "failed"):
        yield from _notices(None, sid, status, row.get("error_code"), words, payload)
    cost = _micros(row.get("price"))
    if cost is not None:
        yield inbox.Notice(
            provider=NAME,
            channel="sms",
            kind=Kind.PRICED,
            event_id=f"{sid}:price",
            ref=sid,
            occurred_at=_date(row.get("date_sent")),
            parts=_number(row.get("num_segments")) or None,
            cost_micros=cost,
            currency=str(row.get("price_unit") or "").upper(),
        )


def _micros(price: Any) -> int | None:
    """Twilio's price, a negative decimal in text, as millionths to pay."""
    try:
        return int(-Decimal(str(price)) * 1_000_000) if price is not None else None
    except (InvalidOperation, ValueError):
        return None


# --- inside --------------------------------------------------------------------------------------


def _session() -> requests.Session:
    session = requests.Session()
    session.auth = (
        settings.TWILIO_API_KEY or settings.TWILIO_ACCOUNT_SID,
        settings.TWILIO_API_SECRET or settings.TWILIO_AUTH_TOKEN,
    )
    return session


def _messages_url() -> str:
    return urljoin(
        settings.TWILIO_BASE_URL, f"/2010-04-01/Accounts/{settings.TWILIO_ACCOUNT_SID}/Messages.json"
    )


def _from(sender: str) -> dict[str, str]:
    service = settings.TWILIO_MESSAGING_SERVICE_SID
    return {"MessagingServiceSid": service} if service else {"From": sender}


def _json(answer: requests.Response) -> dict[str, Any]:
    try:
        said = answer.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _number(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0


def _words(error: Exception) -> str:
    return type(error).__name__


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _date(text: Any) -> datetime | None:
    """Twilio's list writes RFC 2822 dates."""
    try:
        return parsedate_to_datetime(str(text))
    except ValueError:
        return None
