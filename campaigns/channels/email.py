"""Email over SMTP: mails written ready for the wire, a few connections, every refusal told apart."""

import smtplib
import time
from collections.abc import Iterable, Iterator
from email.utils import formatdate
from types import TracebackType
from typing import Any, Self

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection

from ..launches import launch_of
from ..mime import BadAddress
from ..models import Message
from ..rendering import Email, Outgoing
from ..templates import TemplateProblem
from .base import Outcome, Provider
from .smtp import Delivery, Pool, Reply, Server, ServerDown

SMTP_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
# Basic codes that speak of the address where there is no enhanced code (RFC 5321, 4.2.3).
_ADDRESS_CODES = {550, 551, 553}
# Enhanced status codes (RFC 3463): the subject.detail after the class.
_BAD_ADDRESS = ("1.", "2.1 ")  # Addressing; mailbox disabled.
_MAILBOX_FULL = ("2.2 ",)
_CONTENT = ("6.", "7.")  # Content or media; security or policy.


class SmtpProvider:
    """Our own pipelined connections to the server of EMAIL_URL, kept open for a batch."""

    name = "smtp"
    reports = False

    def __init__(self) -> None:
        server = Server(
            settings.EMAIL_HOST,
            settings.EMAIL_PORT,
            settings.EMAIL_HOST_USER,
            settings.EMAIL_HOST_PASSWORD,
            settings.EMAIL_USE_TLS,
            settings.EMAIL_USE_SSL,
            settings.EMAIL_TIMEOUT,
        )
        self._pool = Pool(server, connections=settings.EMAIL_CONNECTIONS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()

    def send(self, batch: list[Outgoing], *, deadline: float) -> Iterator[Outcome]:
        deliveries: list[Delivery] = []
        date = formatdate()
        for outgoing in batch:
            launch = launch_of(outgoing.content_id, outgoing.revision)
            try:
                mail = launch.mail(outgoing, date=date)
                deliveries.append(Delivery(outgoing.id, launch.sender_address, outgoing.address, mail))
            except BadAddress:
                yield Outcome(outgoing.id, "failed", Message.Reason.BAD_ADDRESS, "not an SMTP address")
            except TemplateProblem as error:
                yield Outcome(outgoing.id, "failed", Message.Reason.RENDERING, str(error))
        problem = ""
        try:
            if deliveries:
                self._pool.send(deliveries, deadline=deadline)
        except ServerDown as error:
            problem = str(error)
        parks = "email" in settings.PARK_WHEN_IN_DOUBT
        for delivery in deliveries:
            if not (delivery.is_in_doubt and parks):  # Without an outcome it parks when its lease ends.
                yield _outcome(delivery, problem)


def _outcome(delivery: Delivery, problem: str) -> Outcome:
    if delivery.reply is None:
        # In doubt or not begun: mail may be sent again under the same Message-ID.
        why = delivery.problem or problem
        return Outcome(delivery.key, "planned", Message.Reason.PROVIDER_ERROR if why else "", why)
    if delivery.reply.is_ok:
        return Outcome(delivery.key, "sent")
    return refusal(delivery.key, delivery.reply, stage=delivery.stage, of_server=delivery.speaks_of_server)


def refusal(message_id: int, reply: Reply, *, stage: str, of_server: bool) -> Outcome:
    """What a server's no means for the message: try later, a bounce, or an end.

    A bounce is about the address and suppresses it; a full mailbox, spam and other refusals are not.
    """
    enhanced = reply.text[2:] if reply.text[:2] in ("4.", "5.") else ""
    detail = str(reply)
    if of_server:
        return Outcome(message_id, "planned", Message.Reason.PROVIDER_ERROR, detail)
    if 400 <= reply.code < 500:
        return Outcome(message_id, "planned", Message.Reason.TRY_LATER, detail)
    if enhanced.startswith(_MAILBOX_FULL) or (not enhanced and reply.code == 552):
        return Outcome(message_id, "failed", Message.Reason.MAILBOX_FULL, detail)
    if enhanced.startswith(_CONTENT) or (stage == "done" and not enhanced.startswith(_BAD_ADDRESS)):
        return Outcome(message_id, "failed", Message.Reason.SPAM, detail)
    if enhanced.startswith(_BAD_ADDRESS) or (
        stage == "rcpt" and not enhanced and reply.code in _ADDRESS_CODES
    ):
        return Outcome(message_id, "bounced", Message.Reason.BAD_ADDRESS, detail)
    return Outcome(message_id, "failed", Message.Reason.REFUSED, detail)


class BackendProvider:
    """Any other e-mail backend of Django, one mail at a time."""

    name = "backend"
    reports = False

    def __init__(self) -> None:
        self._connection: Any = get_connection()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def send(self, batch: list[Outgoing], *, deadline: float) -> Iterable[Outcome]:
        for outgoing in batch:
            if time.monotonic() > deadline:
                yield Outcome(outgoing.id, "planned")
            else:
                yield self._send_one(outgoing)

    def _send_one(self, outgoing: Outgoing) -> Outcome:
        launch = launch_of(outgoing.content_id, outgoing.revision)
        try:
            mail = build_mail(launch.email(outgoing), to=outgoing.address, headers=launch.headers(outgoing))
        except TemplateProblem as error:
            return Outcome(outgoing.id, "failed", Message.Reason.RENDERING, str(error))
        try:
            self._connection.send_messages([mail])
        except (smtplib.SMTPException, OSError) as error:
            return Outcome(outgoing.id, "planned", Message.Reason.PROVIDER_ERROR, str(error))
        return Outcome(outgoing.id, "sent")


def build_mail(email: Email, *, to: str, headers: dict[str, str] | None = None) -> EmailMultiAlternatives:
    """The mail as Django's backends take it, plain text and HTML."""
    mail = EmailMultiAlternatives(
        subject=email.subject,
        body=email.text,
        from_email=email.sender,
        to=[to],
        reply_to=[email.reply_to] if email.reply_to else None,
        headers=headers or {},
    )
    mail.attach_alternative(email.html, "text/html")
    return mail


def provider() -> Provider:
    """Whoever EMAIL_BACKEND says carries mail."""
    return SmtpProvider() if settings.EMAIL_BACKEND == SMTP_BACKEND else BackendProvider()


def send_test(written: Email | str, sender: str, to: str) -> str:
    """Send a trial mail; returns why it could not be sent, or an empty string."""
    assert isinstance(written, Email)
    try:
        build_mail(written, to=to).send()
    except (smtplib.SMTPException, OSError) as error:
        return str(error)
    return ""
