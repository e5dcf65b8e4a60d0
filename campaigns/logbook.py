"""How far a worker got, for whoever comes after it should it be killed: a row a worker.

The word goes over a connection of its own, and its answer is awaited with the next one: what a process has
written to a socket arrives, also when it is killed. The table is unlogged, so no commit waits for the disk.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import pq
from psycopg.errors import error_from_result

from .channels.base import Outcome

_WORD = b"""
INSERT INTO campaigns_logbook AS logbook (owner, provider, sent, refs, begun)
VALUES ($1::uuid, $2, $3::bigint[], $4::text[], $5::bigint)
ON CONFLICT (owner) DO UPDATE SET
    sent = logbook.sent || EXCLUDED.sent, refs = logbook.refs || EXCLUDED.refs, begun = EXCLUDED.begun
"""
_NAME = b"word"  # The statement is prepared under it.


class Log:
    """The row of one worker; the statements that open and close it are those of the fence and the mark.

    Raises django's OperationalError where an earlier word may be lost too: then all is to be said again.
    """

    def __init__(self, owner: UUID, provider: str) -> None:
        self._owner, self._provider = str(owner), provider
        self._line: BaseDatabaseWrapper | None = None
        self._is_awaited = False

    def write(self, sent: Sequence[Outcome], *, begun: int) -> None:
        """Say what else was sent, and which is the last message that is begun now."""
        self.settle()
        line = self._connected()
        refs = [one.ref for one in sent]
        values = [
            self._owner,
            self._provider,
            _array(str(one.message_id) for one in sent),
            _array(_quoted(ref) if ref else '""' for ref in refs),
            str(begun),
        ]
        with line.wrap_database_errors:
            server = line.connection.pgconn
            server.send_query_prepared(_NAME, [value.encode() for value in values])
            self._is_awaited = True
            server.flush()

    def settle(self) -> None:
        """Make sure that the last word has arrived."""
        if self._is_awaited and self._line:
            self._is_awaited = False
            server = self._line.connection.pgconn
            with self._line.wrap_database_errors:
                while result := server.get_result():
                    if result.status != pq.ExecStatus.COMMAND_OK:
                        raise error_from_result(result)

    def close(self) -> None:
        """Hang up; the row stays."""
        if self._line:
            self._line.close()
        self._line, self._is_awaited = None, False

    def _connected(self) -> BaseDatabaseWrapper:
        if self._line is None:
            line = connection.copy()
            line.connect()
            self._line = line
            line.connection.pgconn.prepare(_NAME, _WORD)
        return self._line


def _array(items: Iterable[str]) -> str:
    return f"{{{','.join(items)}}}"


def _quoted(text: str) -> str:
    """An item of an array (PostgreSQL's documentation, 8.15.6)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
