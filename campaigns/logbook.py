"""How far a worker got, for whoever comes after it should it be killed: a row a worker.

The word goes over a connection of its own, and its answer is awaited with the next one: what a process has
written to a socket arrives, also when it is killed. The table is unlogged, so no commit waits for the disk.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import pq
from psycopg.errors import error_from_result

_WORD = b"""
INSERT INTO campaigns_logbook (owner, provider, settled, begun, unsent, sent, refs)
VALUES ($1::uuid, $2, $3::bigint, $4::bigint, $5::bigint[], $6::bigint[], $7::text[])
ON CONFLICT (owner) DO UPDATE SET
    settled = EXCLUDED.settled, begun = EXCLUDED.begun,
    unsent = EXCLUDED.unsent, sent = EXCLUDED.sent, refs = EXCLUDED.refs
"""
_NAME = b"word"  # The statement is prepared under it.


@dataclass
class Word:
    """All a worker has to say since its last fence, in messages' ids; see the fields of `Logbook`."""

    settled: int = 0
    begun: int = 0
    unsent: list[int] = field(default_factory=list)
    refs: dict[int, str] = field(default_factory=dict)  # Of messages sent, the provider's references.


class Log:
    """The row of one worker; the statements that open and close it are those of the fence and the mark.

    Raises django's OperationalError where the last word may be lost; then it is to be said again.
    """

    def __init__(self, owner: UUID, provider: str) -> None:
        self._owner, self._provider = str(owner), provider
        self._line: BaseDatabaseWrapper | None = None
        self._is_awaited = False

    def write(self, word: Word) -> None:
        """Say it in place of the word before."""
        self.settle()
        line = self._connected()
        values = [
            self._owner,
            self._provider,
            str(word.settled),
            str(word.begun),
            _array(map(str, word.unsent)),
            _array(map(str, word.refs)),
            _array(map(_quoted, word.refs.values())),
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
