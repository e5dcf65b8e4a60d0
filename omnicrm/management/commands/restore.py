"""`manage.py restore FOLDER`: go on from a backup, in an empty database."""

import time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from core.errors import DomainError

from ... import backup


class Command(BaseCommand):
    help = "Fills the empty database and the folder of uploads from a backup. Sending is off afterwards."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)

    def handle(self, *args: Any, folder: Path, **options: Any) -> None:
        started = time.monotonic()
        try:
            backup.restore(folder)
        except DomainError as error:
            raise CommandError(str(error)) from error
        took = time.monotonic() - started
        self.stdout.write(f"Restored in {took:.1f} s. Sending is off: see manage.py sends status.")
