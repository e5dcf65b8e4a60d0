"""Files of customers and orders: read, mapped, checked and applied (RFC 4180, and what people call CSV)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django.db import transaction

from customers.models import ImportJob

from .apply import Outcome, Setup, apply_people
from .fields import Field
from .people import CUSTOMER_FIELDS, PersonReader, PersonRow
from .reader import Row

__all__ = ["CUSTOMERS", "CustomerImporter"]


class CustomerImporter:
    """How customer files are imported."""

    kind: str = ImportJob.Kind.CUSTOMERS
    fields: Sequence[Field] = CUSTOMER_FIELDS
    tables: Sequence[str] = (
        "customers_customer",
        "customers_identifier",
        "customers_consent",
        "customers_consentevent",
        "customers_event",
    )

    def row_reader(
        self, columns: Sequence[str], mapping: dict[str, str], options: dict[str, Any]
    ) -> Callable[[Row], PersonRow]:
        return PersonReader(columns, mapping, options).read

    def apply(self, rows: Sequence[PersonRow], setup: Setup, *, for_good: bool) -> Outcome:
        return apply_people(rows, setup, for_good=for_good)

    def ring(self, job_id: int) -> None:
        """Tell the workers, once this transaction is committed; a lost ring is repeated by beat."""
        from customers.tasks import run_import  # Tasks call the verbs of this package.

        transaction.on_commit(partial(run_import.delay, job_id), robust=True)


CUSTOMERS = CustomerImporter()
