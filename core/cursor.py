"""Reading an append-only log exactly once.

A log is a table with `tx` (the transaction that wrote the row) and `id`. Ids alone will not do: a slow
transaction commits a smaller id after a faster one committed a larger, and a reader who went by ids would
never see it. So rows are read in (tx, id) order, and only those of transactions older than every
transaction still running: those before the log's horizon.

Transactions are numbered by the cluster. A log that was restored into a younger one goes on where it ended,
its numbers being the cluster's plus `log_base()` from then on (`carry_on`).
"""

from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from django.db import connection, models, transaction

from .models import Cursor

logger = structlog.get_logger(__name__)

LAST = 2**63 - 1  # Behind every id.

FUNCTIONS = """
CREATE FUNCTION log_base() RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT 0::bigint';
CREATE FUNCTION log_horizon() RETURNS xid8 STABLE LANGUAGE sql AS
    'SELECT (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + log_base())::text::xid8';
"""
DROP_FUNCTIONS = "DROP FUNCTION log_horizon(); DROP FUNCTION log_base()"

# What the log and its readers know against what the cluster has come to. Uses the log's index on (tx, id).
_AHEAD = """
SELECT greatest((SELECT tx::text::bigint FROM {table} ORDER BY tx DESC LIMIT 1),
                (SELECT tx::text::bigint FROM core_cursor ORDER BY tx DESC LIMIT 1), 0)
       - (log_horizon()::text::bigint - 1)
"""
_NEW_BASE = (
    "CREATE OR REPLACE FUNCTION log_base() RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT {}::bigint'"
)
_NEW_DEFAULT = """
ALTER TABLE {table} ALTER COLUMN tx
SET DEFAULT (pg_current_xact_id()::text::bigint + log_base())::text::xid8
"""

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
    Filters on `log` are welcome; rows they leave out are skipped for good, and not looked at again.
    """
    if not Cursor.objects.filter(name=name).exists():
        Cursor.objects.bulk_create([Cursor(name=name)], ignore_conflicts=True)
    with transaction.atomic():
        cursor = Cursor.objects.select_for_update(skip_locked=True).filter(name=name).first()
        if cursor is None:
            return 0
        horizon = log_horizon()  # Before reading: what commits meanwhile lies behind it.
        rows = list(_next_rows(log, cursor, horizon)[:limit])
        if rows:
            handler(rows)
        read = (rows[-1].tx, rows[-1].pk) if len(rows) == limit else (horizon - 1, LAST)  # type: ignore[attr-defined]
        if read > (cursor.tx, cursor.event_id):
            cursor.tx, cursor.event_id = read
            cursor.save(update_fields=["tx", "event_id", "moved_at"])
        return len(rows)


def log_horizon() -> int:
    """The number before which no transaction is running any more: what has a smaller one is settled."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT log_horizon()::text::bigint")
        horizon: int = cursor.fetchone()[0]
    return horizon


@transaction.atomic
def carry_on(log: type[models.Model]) -> bool:
    """Let a log that was restored into a younger cluster go on; whether there was need to.

    Without this its readers would wait for years, or take new rows for old ones. Call it before anything
    writes to the log, as the owner of its table; repeating it changes nothing.
    """
    table = connection.ops.quote_name(log._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(_AHEAD.format(table=table))
        ahead: int = cursor.fetchone()[0]
        if ahead <= 0:
            return False
        cursor.execute("SELECT log_base()")
        cursor.execute(_NEW_BASE.format(cursor.fetchone()[0] + ahead))
        cursor.execute(_NEW_DEFAULT.format(table=table))
    logger.info("log_carried_on", log=log._meta.db_table, ahead=ahead)
    return True


def _next_rows(log: models.QuerySet[Row], cursor: Cursor, horizon: int) -> models.QuerySet[Row]:
    """The rows after the cursor and before the horizon; reads the log's index on (tx, id)."""
    table = f'"{log.model._meta.db_table}"'
    return log.extra(  # noqa: S610 - the table's name is the model's; values travel as parameters
        where=[
            f"({table}.tx, {table}.id) > (%s::xid8, %s)",
            f"{table}.tx < %s::xid8",
        ],
        params=[str(cursor.tx), cursor.event_id, str(horizon)],
    ).order_by("tx", "id")
