from typing import Any

from django.core.management.base import CommandParser

from customers.imports import CUSTOMERS
from customers.imports.commands import ImportCommand


class Command(ImportCommand):
    help = "Imports customers from a CSV or Excel file; a second run of the same file changes nothing."
    importer = CUSTOMERS

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="CSV in any common encoding and delimiter, or .xlsx; with a header")
        parser.add_argument("--country", default="", help="for phone numbers without a prefix: IT")
        parser.add_argument("--consent-source", default="", help="where consents without a source were given")
        parser.add_argument("--consent-on", default="", help="when consents without a date were given")

    def handle(self, *args: Any, **options: Any) -> None:
        chosen = {name: options[name] for name in ("country", "consent_source", "consent_on")}
        self.import_file(options["file"], {name: value for name, value in chosen.items() if value})
