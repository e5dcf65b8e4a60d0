"""`manage.py sends on|off|status`: whether messages may leave."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from campaigns import switch
from core.errors import DomainError
from customers.models import Channel

from ...operating import operator


class Command(BaseCommand):
    help = (
        "Lets messages leave, or holds all that are not on the wire yet, here and in every process at once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", choices=["on", "off", "status"])
        parser.add_argument("--channel", choices=Channel.values, default="", help="this one alone")
        parser.add_argument("--why", default="", help="shown to whoever wonders, kept with who said it")

    def handle(self, *args: Any, what: str, channel: str, why: str, **options: Any) -> None:
        if what != "status":
            try:
                switch.turn_sends(what == "on", channel=channel, reason=why, by=operator())
            except DomainError as error:
                raise CommandError(str(error)) from error
        for name in Channel.values:
            off = switch.why_off([name])
            self.stdout.write(f"{name:<6} {f'off: {off.words}' if off else 'on'}")
        if any(state.is_copy for state in switch.states()):
            self.stdout.write(
                "This database is a copy of another. When the other will never send again: manage.py sends on"
            )
