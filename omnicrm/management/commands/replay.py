"""`manage.py replay`: send again what failed, was set aside, or became unknown."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from campaigns import repair
from campaigns.models import Message
from core.errors import DomainError

from ...operating import add_consent, add_selection, found_table, operator, selection_of


class Command(BaseCommand):
    help = (
        "Lets failed or unknown messages wait for sending again; every gate judges them anew. "
        "Without --yes it only tells which."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--status", choices=[str(status) for status in repair.AGAIN], required=True)
        parser.add_argument("--reason", choices=Message.Reason.values, default="", help="why they failed")
        add_selection(parser)
        add_consent(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            selection = selection_of(options, status=options["status"], reason=options["reason"])
            found = repair.replayable(selection)
        except DomainError as error:
            raise CommandError(str(error)) from error
        if not found:
            self.stdout.write("There are none.")
            return
        self.stdout.write(found_table(found))
        going = [one for one in found if one.may_go]
        if len(going) < len(found):
            self.stdout.write("Those of cancelled campaigns and of drafts stay as they are.")
        if selection.status == Message.Status.UNKNOWN:
            self.stdout.write("Whoever got an unknown message after all gets it twice.")
        if not options["yes"]:
            self.stdout.write(f"--yes lets {sum(one.messages for one in going):,} messages wait for sending.")
            return
        done = repair.replay(selection, by=operator(), reason=options["why"])
        self.stdout.write(f"{done:,} messages wait for sending.")
