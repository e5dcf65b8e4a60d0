"""`manage.py restore_drill`: whether a backup of this house is one."""

from argparse import SUPPRESS
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from core.errors import DomainError

from ... import drill


class Command(BaseCommand):
    help = (
        "Backs the database up, restores it beside the running one, asks every invariant, proves that the "
        "copy sends nothing until it is told to, and then can. Removes it; ends with 1 where it fails."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--folder", type=Path, help="try this backup in place of a new one")
        parser.add_argument("--inside", action="store_true", help=SUPPRESS)

    def handle(self, *args: Any, folder: Path | None, inside: bool, **options: Any) -> None:
        try:
            if inside:
                self.stdout.write(drill.prove())
                return
            figures = drill.run(folder, say=self.stdout.write)
        except DomainError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"total     {figures.rto:7.1f} s  from nothing to the first mail, "
            f"for a database of {figures.database_bytes / 1024**2:,.0f} MB"
        )
