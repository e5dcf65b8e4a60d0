from typing import Any

from django.db import models
from django.db.models import Func


class TransactionIdField(models.Field):
    """PostgreSQL's xid8: the 64-bit id of the transaction that wrote a row, an int in Python."""

    def db_type(self, connection: Any) -> str:
        return "xid8"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> int | None:
        return None if value is None else int(value)

    def get_prep_value(self, value: Any) -> str | None:
        return None if value is None else str(value)

    def to_python(self, value: Any) -> int | None:
        return None if value is None else int(value)


class CurrentTransactionId(Func):
    """`pg_current_xact_id()`, for a column default."""

    template = "pg_current_xact_id()"
    output_field = TransactionIdField()
