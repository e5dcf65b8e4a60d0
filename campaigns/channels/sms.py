"""Text messages. The sandbox provider runs the real path: it accepts, delays, reports and refuses.

How a number ends tells the sandbox what to do, as other providers' test numbers do:
`0000` the provider answers with an error, `0001` the message bounces, `0002` the report takes a minute,
`0003` the answer to our request is lost. SMS_SANDBOX_MODE=fail|bounce|delay does the same to every number.
"""

import time
from collections.abc import Iterator
from datetime import timedelta
from types import TracebackType
from typing import Self

from django.conf import settings
from django.utils.timezone import now
from django.utils.translation import gettext as _

from .. import inbox
from ..launches import launch_of
from ..models import Message, ProviderReport, SandboxText
from ..rendering import Email, Outgoing
from ..sms import measure
from ..templates import TemplateProblem
from .base import Outcome, Provider

ENDINGS = {"0000": "fail", "0001": "bounce", "0002": "delay", "0003": "lose"}
REPORT_AFTER = timedelta(seconds=2)
DELAYED_REPORT_AFTER = timedelta(seconds=60)


class SandboxError(Exception):
    """The sandbox was told to answer with an error."""


class AnswerLost(Exception):
    """The sandbox took the message, and we never heard."""


class SandboxProvider:
    """A text-message provider inside the house. It keys what it takes by our message id, as real ones do."""

    name = "sandbox"
    reports = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def send(self, batch: list[Outgoing], *, deadline: float) -> Iterator[Outcome]:
        for outgoing in batch:
            if time.monotonic() > deadline:
                yield Outcome(outgoing.id, "planned")
                continue
            try:
                launch = launch_of(outgoing.content_id, outgoing.revision)
                body = launch.text(outgoing)
                ref = accept(outgoing.id, sender=launch.sender_address, to=outgoing.address, body=body)
            except TemplateProblem as error:
                yield Outcome(outgoing.id, "failed", Message.Reason.RENDERING, str(error))
            except SandboxError as error:
                yield Outcome(outgoing.id, "planned", Message.Reason.PROVIDER_ERROR, str(error))
            except AnswerLost:
                continue  # In doubt: parked as unknown when the lease ends, until the report arrives.
            else:
                yield Outcome(outgoing.id, "sent", ref=ref)


def accept(message_id: int, *, sender: str, to: str, body: str) -> str:
    """What the provider's API does: take the text once per message id, and answer with its reference."""
    behaviour = settings.SMS_SANDBOX_MODE or ENDINGS.get(to[-4:], "deliver")
    if behaviour == "fail":
        raise SandboxError("503 Service unavailable")
    delay = DELAYED_REPORT_AFTER if behaviour == "delay" else REPORT_AFTER
    taken, _created = SandboxText.objects.get_or_create(
        message=message_id,
        defaults={
            "sender": sender,
            "to": to,
            "body": body,
            "parts": measure(body).parts,
            "report": "bounced" if behaviour == "bounce" else "delivered",
            "report_at": now() + delay,
        },
    )
    if behaviour == "lose":
        raise AnswerLost
    return str(taken.ref)


def collect() -> int:
    """Hand in the reports the sandbox owes now, as its webhook would; returns how many there were."""
    texts = list(
        SandboxText.objects.filter(reported_at=None, report_at__lte=now()).order_by("report_at")[:5000]
    )
    inbox.receive(_notice(text) for text in texts if text.message > 0)  # Trials are nobody's message.
    SandboxText.objects.filter(pk__in=[text.pk for text in texts]).update(reported_at=now())
    return len(texts)


def _notice(text: SandboxText) -> inbox.Notice:
    is_bounced = text.report == ProviderReport.Kind.BOUNCED
    return inbox.Notice(
        provider=SandboxProvider.name,
        channel="sms",
        kind=text.report,
        event_id=f"{text.ref}:{text.report}",
        message=text.message,
        ref=str(text.ref),
        address=text.to,
        occurred_at=text.report_at,
        reason=Message.Reason.BAD_ADDRESS if is_bounced else "",
        parts=text.parts,
        payload={"ref": str(text.ref), "report": text.report},
    )


def send_test(written: Email | str, sender: str, to: str) -> str:
    """Send a trial text; returns why it could not be sent, or an empty string."""
    assert isinstance(written, str)
    try:
        accept(-time.time_ns(), sender=sender, to=to, body=written)  # No message of ours has this id.
    except SandboxError as error:
        return str(error)
    except AnswerLost:
        return _("The provider did not answer.")
    return ""


def provider() -> Provider:
    """The sandbox."""
    return SandboxProvider()
