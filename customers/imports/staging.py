"""COPY into tables and staging tables, and the keys that say which customer a row is about."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from django.db import connection
from django.db.models.expressions import RawSQL
from psycopg.types.json import JsonbDumper


class Raced(Exception):
    """Somebody else wrote one of our identifiers meanwhile: the chunk is applied again."""


def copy_rows(table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """COPY rows into a table of ours; a dict travels as JSON."""
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
    with connection.wrap_database_errors, connection.cursor() as cursor:
        cursor.adapters.register_dumper(dict, JsonbDumper)
        with cursor.copy(statement) as copy:
            write_row = copy.write_row
            for row in rows:
                write_row(row)


def copy_lines(table: str, columns: Sequence[str], lines: Iterable[str]) -> None:
    """COPY lines in PostgreSQL's text format, a row each: for rows by the million, where that is what costs.

    Cells that may hold anything went through `escaped`.
    """
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
    rows = iter(lines)
    with (
        connection.wrap_database_errors,
        connection.cursor() as cursor,
        cursor.copy(statement) as copy,
    ):
        while block := "".join(islice(rows, 1_000)):
            copy.write(block)


_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def escaped(cell: str) -> str:
    """A cell as a line of `copy_lines` holds it."""
    return cell.translate(_ESCAPES)


def stage(name: str, definition: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Fill a temporary table that lives until the transaction ends."""
    _begin_stage(name, definition)
    copy_rows(name, columns, rows)


def _begin_stage(name: str, definition: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMP TABLE IF NOT EXISTS {name} ({definition}) ON COMMIT DELETE ROWS")
        cursor.execute(f"TRUNCATE {name}")


def new_ids(table: str, count: int) -> list[int]:
    """Ids from a table's own sequence, for rows that must know each other before they are written."""
    with connection.cursor() as cursor:
        cursor.execute(_NEW_IDS, [table, count])
        return [pk for (pk,) in cursor.fetchall()]


# The sequence is looked up once.
_NEW_IDS = """
SELECT nextval(sequence.name)
FROM (SELECT pg_get_serial_sequence(%s, 'id')::regclass AS name OFFSET 0) AS sequence, generate_series(1, %s)
"""


def any_of(ids: list[int]) -> RawSQL:
    """For `filter(pk__in=any_of(ids))`: one array parameter instead of thousands."""
    return RawSQL("SELECT unnest(%s::bigint[])", [ids])


# Asks identifier_once about each key, whatever the planner thinks of either table.
_OWNERS = """
SELECT kind, value, customer_id FROM (
    SELECT kind, value, (
        SELECT customer_id FROM customers_identifier AS identifier
        WHERE identifier.kind = import_key.kind AND identifier.value = import_key.value
    ) AS customer_id
    FROM import_key
) AS asked WHERE customer_id IS NOT NULL
"""


def find_owners(keys: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Identifier to the id of the customer it points at, for those that point at one."""
    if not keys:
        return {}
    _begin_stage("import_key", "kind text, value text")
    lines = (f"{kind}\t{escaped(value)}\n" for kind, value in sorted(keys))  # As the index has them.
    copy_lines("import_key", ("kind", "value"), lines)
    with connection.cursor() as cursor:
        cursor.execute(_OWNERS)
        return {(kind, value): customer_id for kind, value, customer_id in cursor.fetchall()}
