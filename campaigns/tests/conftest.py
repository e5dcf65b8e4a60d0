import socket
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message as Mail
from email.policy import default
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from campaigns.tests.fakes.esp import FakeResend
from campaigns.tests.fakes.twilio import FakeTwilio


class Sink:
    """A real SMTP server that keeps what it takes; addresses beginning with `gone` do not exist."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, Mail]] = []
        self.refuse_everything = False

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if self.refuse_everything:
            return "451 4.3.0 Try again later"
        if address.startswith("gone"):
            return "550 5.1.1 No such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        mail = message_from_bytes(envelope.content, policy=default)
        self.mails.extend((address, mail) for address in envelope.rcpt_tos)
        return "250 OK"

    @property
    def addresses(self) -> list[str]:
        return [address for address, _ in self.mails]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def sink(settings: Any) -> Iterator[Sink]:
    """A mail server on a free local port, and Django set to send to it."""
    sink = Sink()
    controller = Controller(sink, hostname="127.0.0.1", port=free_port())
    controller.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", controller.port
    yield sink
    controller.stop()


@pytest.fixture
def twilio(settings: Any) -> Iterator[FakeTwilio]:
    """Twilio on this machine, and the house set to send texts through it."""
    with FakeTwilio() as fake:
        settings.SMS_PROVIDER = "twilio"
        settings.TWILIO_BASE_URL = fake.url
        settings.TWILIO_ACCOUNT_SID, settings.TWILIO_AUTH_TOKEN = fake.account, fake.token
        yield fake


@pytest.fixture
def resend(settings: Any) -> Iterator[FakeResend]:
    """Resend on this machine, and the house set to send mail through it."""
    with FakeResend() as fake:
        settings.EMAIL_PROVIDER = "resend"
        settings.EMAIL_REPORTS_FROM = ["resend"]
        settings.ANYMAIL = {"RESEND_API_KEY": fake.api_key, "RESEND_API_URL": fake.url}
        settings.RESEND_SIGNING_SECRETS = [fake.secret]
        yield fake
