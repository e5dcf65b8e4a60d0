"""`manage.py park`: set waiting messages aside."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from campaigns import repair
from core.errors import DomainError

from ...operating import add_consent, add_selection, found_table, operator, selection_of


class Command(BaseCommand):
    help = (
        "Sets messages aside that wait to be sent, until they are replayed; those in doubt become unknown. "
        "Without --yes it only tells which."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_selection(parser)
        add_consent(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["campaign"] and not options["channel"]:
            raise CommandError("Say which: --campaign, --channel, or both.")
        try:
            selection = selection_of(options)
        except DomainError as error:
            raise CommandError(str(error)) from error
        found = repair.parkable(selection)
        if not found:
            self.stdout.write("Nothing waits there.")
            return
        self.stdout.write(found_table(found))
        if not options["yes"]:
            self.stdout.write(f"--yes sets {sum(one.messages for one in found):,} messages aside.")
            return
        done = repair.park(selection, by=operator(), reason=options["why"])
        self.stdout.write(
            f"Set {done:,} messages aside. To send them: manage.py replay --status failed --reason parked"
        )
