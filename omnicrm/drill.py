"""The restore drill: a backup of the house, restored beside it: is it sound, silent, and able to send?

The copy has PostgreSQL in a folder of its own, a mail server that delivers to nobody, and no way to any
provider. `run` is the drill; `prove` is its part inside the copy.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiosmtpd.controller import Controller
from django.conf import settings
from django.db import connection
from django.utils.timezone import now

from campaigns import days, dispatch, services, switch
from campaigns.models import Brand, Campaign, Message, Sender
from core.errors import DomainError
from core.models import User
from customers.models import Channel, Customer, Identifier
from customers.services import record_consent
from segments.services import add_members, create_segment

from . import embedded
from .backup import back_up

READER = "restore-drill@reader.invalid"


@dataclass
class Figures:
    """What a drill measured: bytes and seconds. `rto` is from an empty folder to the first mail."""

    database_bytes: int = 0
    backup_bytes: int = 0
    backup_seconds: float = 0
    start_seconds: float = 0
    restore_seconds: float = 0
    check_seconds: float = 0
    send_seconds: float = 0

    @property
    def rto(self) -> float:
        return self.start_seconds + self.restore_seconds + self.check_seconds + self.send_seconds


class Sink:
    """A mail server that keeps nothing but for whom it took mails."""

    def __init__(self) -> None:
        self.readers: list[str] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.readers += envelope.rcpt_tos
        return "250 OK"


def run(folder: Path | None, *, say: Callable[[str], object]) -> Figures:
    """Do the drill; `folder` is a backup to use in place of a new one. Raises DomainError where it fails."""
    figures, sink = Figures(database_bytes=_database_bytes()), Sink()
    with _mail_server(sink) as port, _room() as room:
        if folder is None:
            folder = room / "backup"
            figures.backup_seconds, figures.backup_bytes = _timed(lambda: back_up(folder, files=False))
            say(f"backup    {figures.backup_seconds:7.1f} s  {figures.backup_bytes / 1024**2:,.1f} MB")
        environment = _environment(room / "var", port)
        figures.start_seconds, holder = _timed(lambda: _start_services(environment))
        try:
            say(f"start     {figures.start_seconds:7.1f} s  a PostgreSQL of its own")
            _try_copy(figures, folder, environment, say)
        finally:
            holder.communicate()  # With its end they stop.
    if sink.readers != [READER]:
        raise DomainError(f"The copy sent {len(sink.readers)} mails; one was expected, to {READER}.")
    return figures


def _try_copy(
    figures: Figures, folder: Path, environment: dict[str, str], say: Callable[[str], object]
) -> None:
    figures.restore_seconds, _ = _timed(lambda: _manage("restore", str(folder), environment=environment))
    say(f"restore   {figures.restore_seconds:7.1f} s")
    figures.check_seconds, _ = _timed(lambda: _manage("check_invariants", environment=environment))
    say(f"check     {figures.check_seconds:7.1f} s  every invariant holds")
    figures.send_seconds, told = _timed(lambda: _manage("restore_drill", "--inside", environment=environment))
    say(f"send      {figures.send_seconds:7.1f} s  {told.strip()}")


def prove() -> str:
    """Inside the copy: nothing leaves it by itself; allowed to, one mail does, and the log is followed."""
    if switch.why_off([Channel.EMAIL]) is None:
        raise DomainError("Sending is on in the copy.")
    campaign = _campaign()
    Message.objects.filter(status=Message.Status.PLANNED).update(due_at=now())
    if claimed := dispatch.dispatch_batch(owner=uuid4()):
        raise DomainError(f"The copy took up {claimed} messages although sending is off.")
    waiting = Message.objects.filter(status=Message.Status.PLANNED).count()
    Campaign.objects.filter(status=Campaign.Status.SENDING).exclude(pk=campaign.pk).update(
        status=Campaign.Status.PAUSED
    )
    switch.turn_sends(True, reason="restore drill", by="restore drill")
    dispatch.dispatch_batch(owner=uuid4(), channels=[Channel.EMAIL])
    message = campaign.messages.get()
    if message.status != Message.Status.SENT:
        raise DomainError(f"The mail was not sent: {message.status} {message.reason} {message.detail}")
    if not _is_followed(campaign):
        raise DomainError("The mail was sent, but the readers of the event log do not see it.")
    return f"{waiting} messages waited and none left; allowed to, the copy sent its one"


# --- the room of the copy -------------------------------------------------------------------------


@contextmanager
def _room() -> Iterator[Path]:
    room = Path(tempfile.mkdtemp(prefix="omnicrm-drill-"))
    room.chmod(0o755)  # PostgreSQL may run as another user than we do.
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


@contextmanager
def _mail_server(sink: Sink) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    controller = Controller(sink, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def _environment(var: Path, mail_port: int) -> dict[str, str]:
    """Everything that leads out of the copy leads nowhere, whatever .env says."""
    secrets = {name: getattr(settings, name) for name in ("SECRET_KEY", "ADDRESS_HASH_KEY")}
    nowhere = {
        "OMNICRM_VAR": str(var),
        "DATABASE_URL": "",
        "DATABASE_ROLE": "",
        "OMNICRM_DATABASE": "omnicrm",
        "OMNICRM_PROCESS": "",
        "REDIS_URL": f"unix://{var}/none.sock",
        "BROKER_URL": "memory://",
        "EMAIL_URL": f"smtp://127.0.0.1:{mail_port}",
        "EMAIL_PROVIDER": "smtp",
        "SMS_PROVIDER": "sandbox",
        "PROVIDER_RATES": "",
        "SENDS": "1",
        "LOG_LEVEL": "ERROR",
    }
    return os.environ | secrets | nowhere


def _start_services(environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    """A process that holds the copy's PostgreSQL until its input ends."""
    code = "from omnicrm import embedded; embedded.start(); print(flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        cwd=embedded.BASE_DIR,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert holder.stdout
    if not holder.stdout.readline():
        raise DomainError("The PostgreSQL of the copy did not start.")
    return holder


def _manage(*arguments: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, str(embedded.BASE_DIR / "manage.py"), *arguments],
        env=environment,
        cwd=embedded.BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = (done.stdout + done.stderr).strip()[-3000:]
        raise DomainError(f"manage.py {arguments[0]} failed in the copy:\n{words}")
    return done.stdout


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.monotonic()
    result = work()
    return time.monotonic() - started, result


def _database_bytes() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        size: int = cursor.fetchone()[0]
    return size


# --- inside the copy ------------------------------------------------------------------------------


def _campaign() -> Campaign:
    """A campaign to one reader of our own, its message planned."""
    by = User.objects.create_user(f"{uuid4()}@staff.invalid", name="Restore drill")
    brand = Brand.objects.create(name=f"Restore drill {uuid4()}", postal_address="–")
    sender = Sender.objects.create(
        brand=brand, channel=Channel.EMAIL, name="Drill", address="drill@sender.invalid"
    )
    reader = Customer.objects.create(first_name="Restore drill")
    Identifier.objects.create(customer=reader, kind=Identifier.Kind.EMAIL, value=READER)
    record_consent(
        reader.pk, channel=Channel.EMAIL, state="granted", source="restore drill", evidence="restore drill"
    )
    people = create_segment(name=f"Restore drill {uuid4()}", kind="list", by=by)
    add_members(people.pk, customer_ids=[reader.pk], by=by)
    campaign = services.create_campaign(
        name="Restore drill", brand=brand, by=by, respect_quiet_hours=False, holdout_percent=0
    )
    services.set_audience(campaign.pk, include=[people], exclude=[], by=by)
    services.save_content(
        campaign.pk,
        channel=Channel.EMAIL,
        language="en",
        by=by,
        sender=sender,
        subject="Drill",
        body="It works.",
    )
    services.schedule_campaign(campaign.pk, send_at=now() - timedelta(seconds=1), by=by)
    while Campaign.objects.get(pk=campaign.pk).planned_at is None:
        if services.launch_next() is None:
            raise DomainError("The campaign of the drill was not launched.")
    return campaign


def _is_followed(campaign: Campaign) -> bool:
    """Whether the log's readers come to what this campaign sent, once older transactions have ended."""
    for _ in range(100):
        while days.follow_sent():
            pass
        if campaign.days.filter(sent=1).exists():
            return True
        time.sleep(0.1)
    return False
