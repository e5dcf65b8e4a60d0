"""Tables that leave the house as CSV: streamed, and with nothing a spreadsheet would execute."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from defusedcsv import csv
from django.http import StreamingHttpResponse
from django.utils.timezone import localtime

from . import contact
from .models import Channel, ConsentState, Customer, CustomerQuerySet, Identifier, ImportJob

# Names the import recognises, so that an export can be mended and brought back.
COLUMNS = (
    "customer_number",
    "first_name",
    "last_name",
    "email",
    "phone",
    "language",
    "country",
    "city",
    "home_store",
    "customer_since",
    "email_marketing",
    "sms_marketing",
)


class _Echo:
    """A file that hands back what is written to it."""

    def write(self, line: str) -> str:
        return line


def csv_response(name: str, rows: Iterable[Sequence[Any]]) -> StreamingHttpResponse:
    """A download of rows as UTF-8 CSV; cells that would be formulas are defused."""
    writer = csv.writer(_Echo())
    lines = (writer.writerow([harmless(cell) for cell in row]) for row in rows)
    response = StreamingHttpResponse(_with_mark(lines), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def harmless(cell: Any) -> str:
    """Text without what hides a formula in front of it: tabs, line ends, NUL."""
    return "" if cell is None else str(cell).replace("\0", "").lstrip("\t\r\n ")


def _with_mark(lines: Iterable[str]) -> Iterator[str]:
    yield "\ufeff"  # Tells spreadsheets that this is UTF-8.
    yield from lines


def customer_rows(customers: CustomerQuerySet) -> Iterator[Sequence[Any]]:
    """The header and a row per customer, in bounded memory."""
    yield COLUMNS
    found = customers.select_related("home_store").prefetch_related("identifiers", "consents")
    for customer in found.order_by("pk").iterator(chunk_size=2_000):
        yield _customer_row(customer)


def _customer_row(customer: Customer) -> Sequence[Any]:
    identifiers = list(customer.identifiers.all())
    states = {(consent.channel, consent.purpose): consent.state for consent in customer.consents.all()}
    return (
        contact.best(identifiers, Identifier.Kind.USER_ID),
        customer.first_name,
        customer.last_name,
        contact.best(identifiers, Identifier.Kind.EMAIL),
        contact.best(identifiers, Identifier.Kind.PHONE),
        customer.language,
        customer.country,
        customer.city,
        customer.home_store.code if customer.home_store else "",
        localtime(customer.created_at).date().isoformat(),
        *(_yes_or_no(states.get((channel, "marketing"))) for channel in (Channel.EMAIL, Channel.SMS)),
    )


def _yes_or_no(state: str | None) -> str:
    if state is None:
        return ""
    return "yes" if state == ConsentState.GRANTED else "no"


def rejected_rows(job: ImportJob) -> Iterator[Sequence[Any]]:
    """The refused rows as they came, with their line and the reason in front."""
    columns = job.dialect.get("columns", [])
    yield ("line", "reason", *columns)
    for rejection in job.rejections.iterator(chunk_size=2_000):
        yield (rejection.line, rejection.reason, *rejection.raw)
