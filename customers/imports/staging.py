"""COPY into tables and staging tables, and the keys that say which customer a row is about."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection
from django.db.models.expressions import RawSQL


class Raced(Exception):
    """Somebody else wrote one of our identifiers meanwhile: the chunk is applied again."""


def copy_rows(table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """COPY rows into a table of ours; dicts and lists travel as JSON."""
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
    with (
        connection.wrap_database_errors,
        connection.cursor() as cursor,
        cursor.copy(statement) as copy,
    ):
        for row in rows:
            copy.write_row([json.dumps(v) if isinstance(v, dict | list) else v for v in row])


def stage(name: str, definition: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Fill a temporary table that lives until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMP TABLE IF NOT EXISTS {name} ({definition}) ON COMMIT DELETE ROWS")
        cursor.execute(f"TRUNCATE {name}")
    copy_rows(name, columns, rows)
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {name}")


def new_ids(table: str, count: int) -> list[int]:
    """Ids from a table's own sequence, for rows that must know each other before they are written."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)", [table, count]
        )
        return [pk for (pk,) in cursor.fetchall()]


def any_of(ids: list[int]) -> RawSQL:
    """For `filter(pk__in=any_of(ids))`: one array parameter instead of thousands."""
    return RawSQL("SELECT unnest(%s::bigint[])", [ids])


# Uses identifier_once.
_OWNERS = """
SELECT import_key.kind, import_key.value, identifier.customer_id
FROM import_key JOIN customers_identifier AS identifier USING (kind, value)
"""


def find_owners(keys: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Identifier to the id of the customer it points at, for those that point at one."""
    if not keys:
        return {}
    stage("import_key", "kind text, value text", ("kind", "value"), keys)
    with connection.cursor() as cursor:
        cursor.execute(_OWNERS)
        return {(kind, value): customer_id for kind, value, customer_id in cursor.fetchall()}
