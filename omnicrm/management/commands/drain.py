"""`manage.py drain`: take no new messages up, and wait until none is on its way."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from campaigns import switch
from core.errors import DomainError
from customers.models import Channel

from ...operating import operator

POLL = 0.5  # Seconds.


class Command(BaseCommand):
    help = (
        "Turns sending off and waits until no worker holds a message; ends with 1 when some still do after "
        "--timeout seconds. `manage.py sends on` goes on."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--channel", choices=Channel.values, default="", help="this one alone")
        parser.add_argument("--timeout", type=float, default=60.0, help="seconds")
        parser.add_argument("--why", default="draining")

    def handle(self, *args: Any, channel: str, timeout: float, why: str, **options: Any) -> None:
        try:
            switch.turn_sends(False, channel=channel, reason=why, by=operator())
        except DomainError as error:
            raise CommandError(str(error)) from error
        started = time.monotonic()
        while held := switch.held(channel):
            if time.monotonic() - started > timeout:
                raise CommandError(f"Workers still hold {held:,} messages after {timeout:.0f} seconds.")
            time.sleep(POLL)
        self.stdout.write(f"Nothing is on its way, after {time.monotonic() - started:.1f} s. Sending is off.")
