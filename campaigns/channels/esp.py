"""Email through any service provider django-anymail speaks to: out by its API, reports in by its webhook.

EMAIL_PROVIDER names it as anymail does (mailgun, postmark, resend, brevo, amazon_ses, …) and ANYMAIL holds
its credentials. Every mail is written by us and handed over on its own: it has its reader's words and links
in it, so the batch calls of providers, which fill one text with variables, have nothing to offer.
"""

import binascii
import hashlib
import hmac
import json
import re
import time
import uuid
import warnings
from base64 import b64decode, b64encode
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from typing import Any

from anymail.exceptions import (
    AnymailError,
    AnymailInsecureWebhookWarning,
    AnymailInvalidAddress,
    AnymailRecipientsRefused,
)
from anymail.signals import AnymailTrackingEvent, EventType, RejectReason
from crawlerdetect import CrawlerDetect
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.signing import BadSignature, Signer
from django.http import HttpRequest

from customers.models import Channel

from .. import inbox
from ..launches import launch_of
from ..models import Message, ProviderReport
from ..rendering import Email, Outgoing
from .base import Outcome, Provider
from .email import build_mail
from .web import TIMEOUT, InDoubt, WebProvider, never_left

Kind, Reason = ProviderReport.Kind, Message.Reason
# Anymail takes webhooks nothing guards, and warns; we refuse them, and `manage.py check` says so.
warnings.simplefilter("ignore", AnymailInsecureWebhookWarning)

_OUR_ID = "omnicrm_message"  # The name our signed message id travels under.
_signer = Signer(salt="campaigns.reports")

# Words of an error about our own account or sender: any other mail would meet the same.
_ABOUT_US = re.compile(
    r"\b(from|sender|domain|verif\w*|signature|key|token|account|plan|quota|credits?|suspended|limit)\b", re.I
)
_ABOUT_ADDRESS = re.compile(
    r"[`'\"]to[`'\"]|\bto (field|parameter|address)|recipient|inactive|email address", re.I
)
_NAMESPACE = uuid.UUID("b0e8b7a6-6f6e-4a55-9a3f-0a6d2f3d7c11")


class EspProvider(WebProvider):
    """An e-mail service provider, over its API."""

    def __init__(self, name: str = "") -> None:
        self.name = name or settings.EMAIL_PROVIDER
        self.reports = self.name in settings.EMAIL_REPORTS_FROM and is_guarded(self.name)

    def connect(self) -> Any:
        line = backend(self.name)
        line.open()
        return line

    def write(self, outgoing: Outgoing) -> EmailMultiAlternatives:
        launch = launch_of(outgoing.content_id, outgoing.revision)
        mail = build_mail(launch.email(outgoing), to=outgoing.address, headers=launch.headers(outgoing))
        mail.metadata = {_OUR_ID: token_of(outgoing.id)}  # type: ignore[attr-defined]
        # Our own links and our own pixel: people are watched once, and only as they agreed.
        mail.track_opens = mail.track_clicks = False  # type: ignore[attr-defined]
        return mail

    def hand_over(self, line: Any, outgoing: Outgoing, written: EmailMultiAlternatives) -> Outcome:
        _make_repeatable(self.name, line, outgoing.id, written)
        try:
            line.send_messages([written])
        except AnymailRecipientsRefused as error:
            if "invalid" in written.anymail_status.status:  # type: ignore[attr-defined]
                return Outcome(outgoing.id, "bounced", Reason.BAD_ADDRESS, _words(error))
            return Outcome(outgoing.id, "failed", Reason.REFUSED, _words(error))
        except AnymailInvalidAddress as error:
            return Outcome(outgoing.id, "failed", Reason.BAD_ADDRESS, _words(error))
        except AnymailError as error:
            status = getattr(error, "status_code", None)
            if Channel.EMAIL in settings.PARK_WHEN_IN_DOUBT and _may_be_taken(error, status):
                raise InDoubt from error
            return refusal(outgoing.id, status, _words(error))
        return Outcome(outgoing.id, "sent", ref=str(written.anymail_status.message_id or "")[:100])  # type: ignore[attr-defined]


def token_of(message_id: int) -> str:
    """Our signed id of a message, in letters every provider carries: digits, letters, - and _."""
    return _signer.sign(str(message_id)).replace(":", "_", 1)


def backend(name: str, **options: Any) -> Any:
    """Anymail's backend of a provider; what a provider cannot do with a mail is left out of it."""
    return get_connection(
        f"anymail.backends.{name}.EmailBackend",
        ignore_unsupported_features=True,
        timeout=TIMEOUT,
        **options,
    )


def refusal(message_id: int, status: int | None, words: str) -> Outcome:
    """What an error of the API means for the mail.

    Without an answer the mail may have been taken: it is handed over again under the same id, as over SMTP,
    unless a report of it arrives first.
    """
    if status == 409 or "duplicate_parameter" in words:
        # It knows the mail from before. Whether it was taken then, its report says; until then we only ask.
        return Outcome(message_id, "planned", Reason.TRY_LATER, words)
    if status not in (400, 406, 413, 422) or _ABOUT_US.search(words):
        return Outcome(message_id, "planned", Reason.PROVIDER_ERROR, words)
    reason = Reason.BAD_ADDRESS if _ABOUT_ADDRESS.search(words) else Reason.REFUSED
    return Outcome(message_id, "failed", reason, words)


def provider() -> Provider:
    """The service provider EMAIL_PROVIDER names."""
    return EspProvider()


def _may_be_taken(error: AnymailError, status: int | None) -> bool:
    """Whether nobody knows what became of the request: no answer, or that of an impatient gateway."""
    return status in (502, 504) or (
        status is None and error.__cause__ is not None and not never_left(error.__cause__)
    )


def send_test(written: Email | str, sender: str, to: str) -> str:
    """Send a trial mail; returns why it could not be sent, or an empty string."""
    assert isinstance(written, Email)
    mail = build_mail(written, to=to)
    mail.connection = backend(settings.EMAIL_PROVIDER)
    try:
        mail.send()
    except (AnymailError, ImproperlyConfigured) as error:
        return _words(error)
    return ""


def _make_repeatable(name: str, line: Any, message_id: int, mail: EmailMultiAlternatives) -> None:
    """Let the provider know a mail it already took, and name it in its reports, where it has its own way."""
    if name == "resend":  # Remembers a key for 24 hours, and answers as it did the first time.
        line.session.headers["Idempotency-Key"] = f"omnicrm/{token_of(message_id)}"
        # Its reports carry tags, and no metadata.
        tags = [{"name": _OUR_ID, "value": token_of(message_id)}]
        mail.esp_extra = {"tags": tags}  # type: ignore[attr-defined]
    elif name == "brevo":  # For 15 or 30 minutes, and refuses the second; it must be a UUID.
        mail.extra_headers["idempotencyKey"] = str(uuid.uuid5(_NAMESPACE, token_of(message_id)))


def _words(error: Exception) -> str:
    """The provider's own words, on one line."""
    return " ".join(str(error).split())


# --- what providers tell us ----------------------------------------------------------------------


class Forged(Exception):
    """The report is not the provider's, or too old to be believed."""


class NoCredentials(Forged):
    """The provider has to say who it is (HTTP basic authentication)."""


class Unreadable(Exception):
    """The report is genuine, and nobody could read it."""


# How old a signed report may be: as long as its provider repeats it. Where nothing is named, nothing in the
# report says when it was signed, and its id alone keeps it from counting twice.
_BELIEVED_FOR = {
    "mailgun": timedelta(hours=12),
    "resend": timedelta(minutes=5),  # Signed anew whenever it is repeated.
    "sendgrid": timedelta(hours=25),
}


@cache
def webhooks() -> dict[str, Any]:
    """Anymail's tracking webhooks by the name of the provider."""
    from anymail.urls import urlpatterns

    suffix = "_tracking_webhook"
    return {
        pattern.name.removesuffix(suffix): pattern.callback.view_class
        for pattern in urlpatterns
        if pattern.name.endswith(suffix)
    }


def is_guarded(name: str) -> bool:
    """Whether reports of this provider can be told from forged ones: signed, or under a secret of ours."""
    if name not in webhooks():
        return False
    try:
        return bool(_signing_secrets(name)) or _is_safe(webhooks()[name]())
    except (AnymailError, ImproperlyConfigured):
        return False


def notices_of(name: str, request: HttpRequest) -> list[inbox.Notice]:
    """What a webhook of a provider says, its signature checked over the bytes as they came.

    Raises Forged, NoCredentials or Unreadable.
    """
    try:
        view = webhooks()[name]()
    except (AnymailError, ImproperlyConfigured) as error:
        raise Forged("Nothing to check it by is configured.") from error
    if view.basic_auth and "Authorization" not in request.headers:
        raise NoCredentials(name)
    secrets = _signing_secrets(name)
    if secrets:
        _check_standard_signature(request, secrets)
    elif not _is_safe(view):
        raise Forged("Nothing to check it by is configured.")
    try:
        view.run_validators(request)
    except Exception as error:  # What is no report at all makes validators raise whatever they like.
        raise Forged(type(error).__name__) from error
    _check_age(name, request)
    try:
        return [notice for event in view.parse_events(request) for notice in _notices(name, event)]
    except Exception as error:  # So does a report of a sort the library does not know.
        raise Unreadable(f"{type(error).__name__}: {error}") from error


def _is_safe(view: Any) -> bool:
    return bool(view.basic_auth) or not getattr(view, "warn_if_no_basic_auth", True)


def _signing_secrets(name: str) -> list[str]:
    """Secrets for signatures we check ourselves, old and new while they are being changed."""
    return settings.RESEND_SIGNING_SECRETS if name == "resend" else []


def _check_standard_signature(request: HttpRequest, secrets: list[str]) -> None:
    """Standard Webhooks (https://www.standardwebhooks.com), which Resend signs with through Svix."""
    event_id, stamp = request.headers.get("svix-id", ""), request.headers.get("svix-timestamp", "")
    signed = f"{event_id}.{stamp}.".encode() + request.body
    given = [part.partition(",")[2] for part in request.headers.get("svix-signature", "").split()]
    for secret in secrets:
        try:
            key = b64decode(secret.removeprefix("whsec_"))
        except binascii.Error:
            continue
        expected = b64encode(hmac.digest(key, signed, "sha256"))
        if any(hmac.compare_digest(expected, one.encode(errors="replace")) for one in given):
            return
    raise Forged("The signature does not fit.")


def _check_age(name: str, request: HttpRequest) -> None:
    believed_for = _BELIEVED_FOR.get(name)
    if believed_for is None or (name == "resend" and not _signing_secrets(name)):
        return
    try:
        signed_at = float(_signed_at(name, request))
    except (KeyError, TypeError, ValueError) as error:
        if name == "sendgrid":  # Signed only where its key is configured.
            return
        raise Forged("It does not say when it was signed.") from error
    if not abs(time.time() - signed_at) <= believed_for.total_seconds():
        raise Forged("It was signed too long ago, or in the future.")


def _signed_at(name: str, request: HttpRequest) -> Any:
    if name == "resend":
        return request.headers["svix-timestamp"]
    if name == "sendgrid":
        return request.headers["X-Twilio-Email-Event-Webhook-Timestamp"]
    if request.content_type == "application/json":
        return json.loads(request.body)["signature"]["timestamp"]
    return request.POST["timestamp"]


# --- from anymail's events to ours ---------------------------------------------------------------

_KINDS: dict[str, str] = {
    EventType.QUEUED: Kind.SENT,
    EventType.SENT: Kind.SENT,
    EventType.DEFERRED: Kind.DEFERRED,
    EventType.DELIVERED: Kind.DELIVERED,
    EventType.FAILED: Kind.FAILED,
    EventType.OPENED: Kind.OPENED,
    EventType.CLICKED: Kind.CLICKED,
    EventType.COMPLAINED: Kind.COMPLAINED,
    EventType.UNSUBSCRIBED: Kind.UNSUBSCRIBED,
}
# What providers have begun to tell since anymail learnt their language.
_NEWER_KINDS: dict[Any, str] = {"email.failed": Kind.FAILED, "email.suppressed": Kind.FAILED}  # Resend.


def _notices(name: str, event: Any) -> Iterator[inbox.Notice]:
    if not isinstance(event, AnymailTrackingEvent):
        return  # Mail to us, which some providers post to the same address.
    raw = _plain(event.esp_event)
    words = str(event.mta_response or event.description or "")
    verdict = _verdict(event, raw, words)
    if verdict is None:
        return
    kind, reason = verdict
    yield inbox.Notice(
        provider=name,
        channel="email",
        kind=kind,
        event_id=_event_id(name, event, raw),
        message=_our_id(event.metadata) or _our_id((raw.get("data") or {}).get("tags")),
        ref=str(event.message_id or ""),
        address=str(event.recipient or ""),
        occurred_at=event.timestamp,
        reason=reason,
        detail=words,
        properties=_seen(event, raw) if kind in (Kind.OPENED, Kind.CLICKED) else {},
        payload=raw,
    )


def _event_id(name: str, event: AnymailTrackingEvent, raw: dict[str, Any]) -> str:
    """What names the event among all of its provider's, however often and in whatever order it comes."""
    if name == "mailgun":  # Its signature covers a token and not the event, so a token is good for one.
        return str(event.event_id)
    digest = hashlib.sha256(json.dumps(raw, default=str, sort_keys=True).encode(errors="replace"))
    return f"{event.event_type}:{event.event_id or digest.hexdigest()}"


def _plain(raw: Any) -> dict[str, Any]:
    """The provider's event without the signature it came with."""
    if hasattr(raw, "dict"):  # A form.
        raw = raw.dict()
    return {key: value for key, value in raw.items() if key not in ("signature", "token")}


def _verdict(event: AnymailTrackingEvent, raw: dict[str, Any], words: str) -> tuple[str, str] | None:
    """What an event means: a kind of report, and the Message.Reason where there is one."""
    if event.event_type == EventType.BOUNCED:
        return weigh_bounce(raw, words, event.reject_reason)
    if event.event_type == EventType.REJECTED:  # The provider would not even try.
        if event.reject_reason in (RejectReason.BOUNCED, RejectReason.INVALID):
            return Kind.BOUNCED, Reason.BAD_ADDRESS
        if event.reject_reason in (RejectReason.UNSUBSCRIBED, RejectReason.SPAM):
            return Kind.FAILED, Reason.REVOKED
        return Kind.FAILED, Reason.REFUSED
    kind = _KINDS.get(event.event_type) or _NEWER_KINDS.get(raw.get("type"))
    if kind is None:
        return None  # Replies of robots, new subscribers, what anymail does not know.
    return kind, Reason.REFUSED if kind == Kind.FAILED else ""


_ENHANCED = re.compile(r"\b([45])\.(\d{1,3})\.(\d{1,3})\b")  # RFC 3463
_SOFT_WORDS = re.compile(
    r"soft|transient|temporary|undetermined|full|too.?large|content|blocked|expired", re.I
)
_HARD_WORDS = re.compile(r"hard|permanent|no.?email|invalid|suppress|does not exist|unknown|no such", re.I)
# Where providers say which sort of bounce it was.
_SORTS = (
    *("event", "Type", "type", "bounceType", "bounce_type", "bounce_class", "severity", "subType"),
    *("bounceSubType", "status", "hard_bounce"),
)


def weigh_bounce(raw: dict[str, Any], words: str, reject_reason: str | None = None) -> tuple[str, str]:
    """Whether a bounce speaks of the address for good, and the Message.Reason for it.

    The receiver's enhanced status code decides, then what the provider calls it. What nobody calls
    permanent is soft: soft bounces suppress an address only after several.
    """
    if code := _ENHANCED.search(words):
        sort, subject, detail = code.groups()
        if subject == "2" and detail == "2":
            return Kind.SOFT_BOUNCED, Reason.MAILBOX_FULL
        if subject in ("6", "7"):
            return Kind.SOFT_BOUNCED, Reason.SPAM
        if sort == "5" and (subject == "1" or (subject, detail) == ("2", "1")):
            return Kind.BOUNCED, Reason.BAD_ADDRESS
    said = " ".join(_said_of_sort(raw))
    if _SOFT_WORDS.search(said):
        return Kind.SOFT_BOUNCED, Reason.MAILBOX_FULL if "full" in said.lower() else Reason.REFUSED
    if reject_reason == RejectReason.INVALID or _HARD_WORDS.search(said) or "True" in said:
        return Kind.BOUNCED, Reason.BAD_ADDRESS
    return Kind.SOFT_BOUNCED, Reason.REFUSED


def _said_of_sort(raw: Any) -> Iterator[str]:
    """What stands in the fields of a bounce that name its sort, at any depth."""
    if isinstance(raw, dict):
        for key, value in raw.items():
            if key in _SORTS and not isinstance(value, dict | list):
                yield str(value)
            else:
                yield from _said_of_sort(value)


def _seen(event: AnymailTrackingEvent, raw: dict[str, Any]) -> dict[str, Any]:
    """What the customer's event says of an opening or a click."""
    seen: dict[str, Any] = {"machine": _is_machine(event, raw)}
    if event.click_url:
        seen["url"] = event.click_url
        if event.click_url.startswith(settings.PUBLIC_URL.rstrip("/") + "/"):
            seen["ours"] = True  # Our own redirect tells it.
    return seen


def _is_machine(event: AnymailTrackingEvent, raw: dict[str, Any]) -> bool:
    if raw.get("sg_machine_open") or "proxy_open" in str(raw.get("event")):  # SendGrid, Brevo.
        return True
    if ((raw.get("event-data") or {}).get("client-info") or {}).get("bot"):  # Mailgun.
        return True
    return bool(event.user_agent) and bool(CrawlerDetect().isCrawler(event.user_agent))


def _our_id(named: Any) -> int | None:
    """The message a report names, if it is we who named it: other systems may use the same account."""
    try:
        return int(_signer.unsign(str(named[_OUR_ID]).replace("_", ":", 1)))
    except (BadSignature, KeyError, TypeError, ValueError):
        return None
