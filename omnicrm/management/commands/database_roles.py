"""`manage.py database_roles`: a role of the database for each kind of process."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import ProgrammingError

from ... import database_roles


class Command(BaseCommand):
    help = (
        "Creates the roles omnicrm_owner, _web, _worker and _segments with their grants and timeouts, or "
        "prints how. They get no password: give each one with psql's \\password."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--print", action="store_true", dest="show", help="print the SQL")
        what.add_argument("--apply", action="store_true", help="run it; repeating changes nothing")

    def handle(self, *args: Any, show: bool, **options: Any) -> None:
        if show:
            for statement in database_roles.statements(server_version=database_roles.installed_version()):
                self.stdout.write(f"{statement.strip()};")
            return
        try:
            database_roles.apply()
        except ProgrammingError as error:
            raise CommandError(f"This login may not do that: {error}") from error
        self.stdout.write("The roles stand. Passwords: psql, then \\password omnicrm_web, and so on.")
