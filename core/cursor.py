"""Reading an append-only log exactly once.

A log is a table with `tx` (the transaction that wrote the row) and `id`. Ids alone will not do: a slow
transaction commits a smaller id after a faster one committed a larger, and a reader who went by ids would
never see it. So rows are read in (tx, id) order, and only those of transactions older than every
transaction still running.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from django.db import models, transaction

from .models import Cursor

Row = TypeVar("Row", bound=models.Model)


def consume(
    name: str,
    log: models.QuerySet[Row],
    handler: Callable[[list[Row]], Any],
    *,
    limit: int = 1000,
) -> int:
    """Hand the next rows of the log, at most `limit`, to `handler`; returns how many there were.

    The handler's effects and the cursor of this name commit together, so each row counts exactly once; if
    the handler raises, nothing moved and the rows come again. While another consumer of the same name is
    at work the answer is 0 at once. The handler must not talk to the network: it holds a transaction.
    Filters on `log` are welcome; rows they leave out are skipped for good once a later row was read.
    """
    if not Cursor.objects.filter(name=name).exists():
        Cursor.objects.bulk_create([Cursor(name=name)], ignore_conflicts=True)
    with transaction.atomic():
        cursor = Cursor.objects.select_for_update(skip_locked=True).filter(name=name).first()
        if cursor is None:
            return 0
        rows = list(_next_rows(log, cursor)[:limit])
        if rows:
            handler(rows)
            cursor.tx, cursor.event_id = rows[-1].tx, rows[-1].pk  # type: ignore[attr-defined]
            cursor.save(update_fields=["tx", "event_id", "moved_at"])
        return len(rows)


def _next_rows(log: models.QuerySet[Row], cursor: Cursor) -> models.QuerySet[Row]:
    """The rows after the cursor that nothing can overtake; reads the log's index on (tx, id)."""
    table = f'"{log.model._meta.db_table}"'
    return log.extra(  # noqa: S610 - the table's name is the model's; values travel as parameters
        where=[
            f"({table}.tx, {table}.id) > (%s::xid8, %s)",
            f"{table}.tx < pg_snapshot_xmin(pg_current_snapshot())",
        ],
        params=[str(cursor.tx), cursor.event_id],
    ).order_by("tx", "id")
