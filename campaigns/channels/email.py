"""Email over SMTP: one connection per batch, every refusal told apart."""

import smtplib
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from django.core.mail import EmailMultiAlternatives, get_connection

from ..models import Message
from ..rendering import Email, Outgoing, render_email
from ..templates import TemplateProblem
from .base import ChannelSpec, Outcome

# Enhanced status codes 5.1.x speak of the address (RFC 3463); so do these basic codes (RFC 5321).
_ADDRESS_CODES = {550, 551, 553}


class SmtpProvider:
    """Django's SMTP backend, kept open for a batch and reopened when the server hangs up."""

    def __init__(self) -> None:
        self._connection: Any = get_connection()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def send(self, batch: list[Outgoing], *, deadline: float) -> Iterator[Outcome]:
        for outgoing in batch:
            if time.monotonic() > deadline:
                yield Outcome(outgoing.id, "planned")
            else:
                yield self._send_one(outgoing)

    def _send_one(self, outgoing: Outgoing) -> Outcome:
        try:
            mail = build_mail(render_email(outgoing), to=outgoing.address)
        except TemplateProblem as error:
            return Outcome(outgoing.id, "failed", Message.Reason.RENDERING, str(error))
        try:
            self._connection.open()
            self._connection.send_messages([mail])
        except smtplib.SMTPRecipientsRefused as error:
            code, reply = next(iter(error.recipients.values()))
            return _refusal(outgoing.id, code, reply, about_address=True)
        except smtplib.SMTPResponseException as error:
            self._close()
            return _refusal(outgoing.id, error.smtp_code, error.smtp_error, about_address=False)
        except (smtplib.SMTPException, OSError) as error:
            self._close()
            return Outcome(outgoing.id, "planned", Message.Reason.PROVIDER_ERROR, str(error))
        return Outcome(outgoing.id, "sent", ref=str(mail.extra_headers["Message-ID"]).strip("<>")[:100])

    def _close(self) -> None:
        try:
            self._connection.close()
        except (smtplib.SMTPException, OSError):
            self._connection.connection = None


def build_mail(email: Email, *, to: str) -> EmailMultiAlternatives:
    """The MIME message, plain text and HTML."""
    mail = EmailMultiAlternatives(
        subject=email.subject,
        body=email.text,
        from_email=email.sender,
        to=[to],
        reply_to=[email.reply_to] if email.reply_to else None,
        headers=email.headers,
    )
    mail.attach_alternative(email.html, "text/html")
    return mail


def send_test(written: Email | str, sender: str, to: str) -> str:
    """Send a trial mail; returns why it could not be sent, or an empty string."""
    assert isinstance(written, Email)
    try:
        build_mail(written, to=to).send()
    except (smtplib.SMTPException, OSError) as error:
        return str(error)
    return ""


def _refusal(message_id: int, code: int, reply: bytes | str, *, about_address: bool) -> Outcome:
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)
    detail = f"{code} {text}"
    if 400 <= code < 500:
        return Outcome(message_id, "planned", Message.Reason.PROVIDER_ERROR, detail)
    if about_address and (text.startswith("5.1.") or code in _ADDRESS_CODES):
        return Outcome(message_id, "bounced", Message.Reason.BAD_ADDRESS, detail)
    return Outcome(message_id, "failed", Message.Reason.REFUSED, detail)


SPEC = ChannelSpec("email", "mail", SmtpProvider, send_test)
