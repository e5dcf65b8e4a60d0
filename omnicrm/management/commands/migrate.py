"""`manage.py migrate` that no page waits for: it gives up on a lock after two seconds, and tries again."""

import time
from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from psycopg.errors import LockNotAvailable

from ... import database_roles

LOCK_TIMEOUT_MS = 2000  # A statement that waits for a table makes everybody after it wait too.
TRIES = 10
PAUSE = 3.0  # Seconds, in which those who waited behind it get their turn.


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        self.database = connections[options["database"]]
        for left in reversed(range(TRIES)):
            try:
                super().handle(*args, **options)
                break
            except OperationalError as error:
                if not isinstance(error.__cause__, LockNotAvailable):
                    raise
                if not left:
                    raise CommandError(
                        "Somebody holds a table all the time: see pg_stat_activity. Nothing was half done."
                    ) from error
                self.stderr.write(f"A table is in use; trying again in {PAUSE:.0f} s.")
                time.sleep(PAUSE)
            finally:
                if self.database.is_usable():  # Else the limit went with the connection.
                    self._limit(0)
        if options["database"] == DEFAULT_DB_ALIAS and database_roles.in_use():
            database_roles.grant()

    def migration_progress_callback(self, action: str, migration: Any = None, fake: bool = False) -> None:
        """Before each migration. One outside a transaction takes weak locks only, and waits for long
        transactions to end, as CREATE INDEX CONCURRENTLY does: giving up would leave a broken index."""
        if action in ("apply_start", "unapply_start"):
            self._limit(LOCK_TIMEOUT_MS if migration.atomic else 0)
        super().migration_progress_callback(action, migration, fake)

    def _limit(self, milliseconds: int) -> None:
        with self.database.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {milliseconds}")
