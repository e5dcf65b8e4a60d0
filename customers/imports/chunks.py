"""A file in portions: the rows of each, read and checked, and the rows that cannot be used."""

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO, NamedTuple, Protocol

from customers.models import ImportJob

from . import reader
from .people import Rejected
from .table import UNREADABLE

CHUNK_ROWS = 5_000
CHUNK_CHARACTERS = 8 * 1024 * 1024
MAX_KEPT_CELL = 2_000  # Characters of a cell that are kept of a refused row.

ReadRow = Callable[[reader.Row], Any]  # From a row to what the importer applies; raises Rejected.


class RowReaders(Protocol):
    """What makes rows of a file usable: an importer."""

    def row_reader(
        self, columns: Sequence[str], mapping: dict[str, str], options: dict[str, Any]
    ) -> ReadRow: ...


class Refusal(NamedTuple):
    """A row that cannot be used: where it stands, why, the header at fault (empty for the row as a whole)."""

    line: int
    why: str
    column: str
    cells: list[str]

    def __str__(self) -> str:
        return f"{self.column}: {self.why}" if self.column else self.why


@dataclass(frozen=True)
class Portions:
    """What to read of a file and how to cut it. The same portions give the same chunks anywhere."""

    dialect: dict[str, Any]
    mapping: dict[str, str]
    options: dict[str, Any]
    skip: int = 0  # Rows that are imported already.
    limit: int | None = None
    chunk_rows: int = field(default_factory=lambda: CHUNK_ROWS)

    @classmethod
    def of(cls, job: ImportJob, **more: Any) -> "Portions":
        return cls(job.dialect, job.mapping, job.options, **more)


@dataclass
class Chunk:
    """Rows to apply together, and the rows among them that were refused when read."""

    size: int = 0
    rows: list[Any] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    read_bytes: int = 0  # How far the file is read.
    packed_cells: bytes = b""  # Those of `rows` by line: few are ever looked at.

    def cells_of(self, lines: Iterable[int]) -> dict[int, list[str]]:
        """The cells of these lines, as far as anybody keeps them."""
        cells = pickle.loads(self.packed_cells)  # noqa: S301 - packed by `_checked`
        return {line: storable(cells[line]) for line in lines}


def read_chunks(file: BinaryIO, portions: Portions, importer: RowReaders) -> Iterator[Chunk]:
    """The chunks of a file, in bounded memory."""
    dialect = reader.Dialect.from_json(portions.dialect)
    read = importer.row_reader(dialect.columns, portions.mapping, portions.options)
    reading = reader.Reading(file, dialect)
    rows = islice(reading, portions.skip, portions.limit)
    for batch in _batches(rows, portions.chunk_rows):
        yield _checked(batch, read, reading.read_bytes)


def _batches(rows: Iterator[reader.Row], size: int) -> Iterator[list[reader.Row]]:
    batch: list[reader.Row] = []
    weight = 0
    for row in rows:
        batch.append(row)
        weight += sum(map(len, row.cells))
        if len(batch) >= size or weight >= CHUNK_CHARACTERS:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch


def _checked(batch: list[reader.Row], read: ReadRow, read_bytes: int) -> Chunk:
    rows: list[Any] = []
    refused: list[Refusal] = []
    cells: dict[int, list[str]] = {}
    for row in batch:
        try:
            if row.problem:
                raise Rejected(row.problem)
            rows.append(read(row))
            cells[row.line] = row.cells
        except Rejected as refusal:
            refused.append(Refusal(row.line, refusal.reason, refusal.column, storable(row.cells)))
    return Chunk(len(batch), rows, refused, read_bytes, pickle.dumps(cells))


def storable(cells: Iterable[str]) -> list[str]:
    """Cells as jsonb can keep them: no NUL, no megabytes."""
    found = [cell.replace("\0", UNREADABLE) for cell in cells]
    return [cell if len(cell) <= MAX_KEPT_CELL else cell[:MAX_KEPT_CELL] + "…" for cell in found]
