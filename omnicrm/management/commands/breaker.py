"""`manage.py breaker reset PROVIDER`: use a provider again without waiting for its rest to end."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from campaigns import repair
from core.errors import DomainError

from ...operating import operator


class Command(BaseCommand):
    help = "Uses a provider again at once. It rests again after the next failures in a row."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", choices=["reset"])
        parser.add_argument("provider", help="as `manage.py queues` calls it")
        parser.add_argument("--why", default="", help="kept with who did it")

    def handle(self, *args: Any, provider: str, why: str, **options: Any) -> None:
        try:
            repair.reset_breaker(provider, by=operator(), reason=why)
        except DomainError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{provider} is used again.")
