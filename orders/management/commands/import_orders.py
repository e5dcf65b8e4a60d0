from typing import Any

from django.core.management.base import CommandError, CommandParser

from core.errors import DomainError
from customers.imports import cells
from customers.imports.commands import ImportCommand
from orders.imports import ORDERS


class Command(ImportCommand):
    help = "Imports orders from a CSV or Excel file; a second run of the same file changes nothing."
    importer = ORDERS

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="CSV in any common encoding and delimiter, or .xlsx; with a header")
        parser.add_argument("--currency", default="EUR", help="of amounts without one (ISO 4217)")
        parser.add_argument("--source", default="import", help="the system that owns the order numbers")
        parser.add_argument("--country", default="", help="for phone numbers without a prefix: IT")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            currency = cells.currency(options["currency"])
            source = cells.text(options["source"], longest=50)
        except DomainError as error:
            raise CommandError(str(error)) from error
        chosen = {"currency": currency, "source": source, "country": options["country"]}
        self.import_file(options["file"], chosen)
