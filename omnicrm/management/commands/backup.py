"""`manage.py backup FOLDER`: a copy of the house to go on from."""

import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from core.errors import DomainError

from ... import backup


class Command(BaseCommand):
    help = (
        "Writes the database, the uploaded files and the generated secrets into a new folder, while all runs."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)

    def handle(self, *args: Any, folder: Path, **options: Any) -> None:
        started = time.monotonic()
        try:
            size = backup.back_up(folder)
        except DomainError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{folder}: {size / 1024**2:,.1f} MB in {time.monotonic() - started:.1f} s.")
        if not settings.IS_EMBEDDED:
            self.stdout.write(
                "SECRET_KEY and ADDRESS_HASH_KEY are not in it: keep them where you keep secrets."
            )
