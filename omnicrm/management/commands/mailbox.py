"""`manage.py mailbox`: a mail server that delivers to no one and keeps every mail in var/mail."""

import asyncio
import mailbox
from typing import Any

from aiosmtpd.controller import Controller
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser


class Keeper:
    """Takes every mail, except to addresses that begin with `gone.`: those do not exist."""

    def __init__(self, box: mailbox.Maildir) -> None:
        self.box = box

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if address.startswith("gone."):
            return "550 5.1.1 No such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        await asyncio.to_thread(self.box.add, envelope.content)
        return "250 OK"


class Command(BaseCommand):
    help = "Run a mail server for this machine that keeps every mail in var/mail and sends none on."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8025)

    def handle(self, *args: Any, port: int, **options: Any) -> None:
        keeper = Keeper(mailbox.Maildir(settings.VAR_DIR / "mail"))
        controller = Controller(keeper, hostname="127.0.0.1", port=port)
        controller.start()
        try:
            asyncio.run(asyncio.Event().wait())
        except KeyboardInterrupt:
            controller.stop()
