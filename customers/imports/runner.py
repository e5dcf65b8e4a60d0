"""Runs a file through an importer: rehearsed as a check, or for good, chunk by chunk, as a job.

Each chunk commits alone with its counts, its refused rows and how far the file is read, so memory is
bounded, a broken connection loses nothing and a job that was stopped goes on where it stopped.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO, Protocol

from django.db import OperationalError, connection, transaction
from django.utils.translation import gettext as _
from psycopg import errors

from customers.models import ImportJob

from . import reader
from .apply import Outcome, Setup
from .fields import Field
from .people import Rejected
from .staging import Raced, copy_rows

CHUNK_ROWS = 5_000
CHUNK_CHARACTERS = 8 * 1024 * 1024
CHECK_ROWS = 25_000
MAX_RAW_CELL = 2_000
ATTEMPTS = 4
# One chunk is applied at a time in the whole house: two imports can neither deadlock nor race.
APPLY_LOCK = 7_302


class Importer(Protocol):
    """What a kind of file needs to be imported: `customers.imports.CUSTOMERS`, `orders.imports.ORDERS`."""

    kind: str
    fields: Sequence[Field]

    def row_reader(
        self, columns: Sequence[str], mapping: dict[str, str], options: dict[str, Any]
    ) -> Callable[[reader.Row], Any]:
        """A function from a row to what `apply` takes; it raises Rejected."""

    def apply(self, rows: Sequence[Any], setup: Setup, *, for_good: bool) -> Outcome:
        """Write these rows within the caller's transaction, or only say what writing them would do.

        Raises Raced to be called again.
        """

    def ring(self, job_id: int) -> None:
        """Tell the workers that a job waits."""


@dataclass
class Chunk:
    """Rows to apply together, the rows refused while reading them, and the raw cells of both."""

    size: int = 0
    rows: list[Any] = field(default_factory=list)
    raw: dict[int, list[str]] = field(default_factory=dict)
    refused: list[tuple[int, Rejected]] = field(default_factory=list)


@dataclass
class Check:
    """What an import would do, counted over the first `rows` rows; `is_whole` when that is all of them."""

    rows: int = 0
    is_whole: bool = True
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    by_column: Counter[str] = field(default_factory=Counter)
    examples: list[tuple[int, str]] = field(default_factory=list)

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Columns by how many rows they would have refused; an empty name is the row as a whole."""
        return self.by_column.most_common()


def check(file: BinaryIO, job: ImportJob, importer: Importer, *, limit: int = CHECK_ROWS) -> Check:
    """Rehearse the import of the first rows: all of them as one chunk, nothing written, nobody locked out."""
    chunks = _chunks(file, job, importer, skip=0, limit=limit, chunk_rows=limit)
    chunk = next(chunks, Chunk())
    with transaction.atomic():
        outcome = importer.apply(chunk.rows, setup_of(job), for_good=False) if chunk.rows else Outcome()
    refusals = sorted(
        [*chunk.refused, *((line, Rejected(why)) for line, why in outcome.rejections)],
        key=lambda refusal: refusal[0],
    )
    return Check(
        rows=chunk.size,
        is_whole=chunk.size < limit and next(chunks, None) is None,
        created=outcome.created,
        updated=outcome.updated,
        unchanged=outcome.unchanged,
        rejected=len(refusals),
        by_column=Counter(refusal.column for _line, refusal in refusals),
        examples=[(line, str(refusal)) for line, refusal in refusals[:20]],
    )


def run(
    file: BinaryIO, job: ImportJob, importer: Importer, on_progress: Callable[[ImportJob], None] | None = None
) -> None:
    """Import what is not yet imported of the file, keeping the job's counts and progress as it goes."""
    setup = setup_of(job)
    for chunk in _chunks(file, job, importer, skip=job.rows):
        _apply_for_good(chunk, job, importer, setup, done_bytes=file.tell())
        if on_progress:
            on_progress(job)


def setup_of(job: ImportJob) -> Setup:
    at = job.started_at or job.created_at
    return Setup(job.file_name, at, job.by_id, job.options.get("source") or "import")


def _apply_for_good(
    chunk: Chunk, job: ImportJob, importer: Importer, setup: Setup, *, done_bytes: int
) -> None:
    """Apply a chunk and account for each of its rows, in one transaction; a lost race is run again."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with transaction.atomic():
                outcome = _write(chunk, importer, setup)
                refusals = [*((line, str(refusal)) for line, refusal in chunk.refused), *outcome.rejections]
                _keep_rejections(job, chunk, sorted(refusals))
                counts = {
                    "rows": job.rows + chunk.size,
                    "created": job.created + outcome.created,
                    "updated": job.updated + outcome.updated,
                    "unchanged": job.unchanged + outcome.unchanged,
                    "rejected": job.rejected + len(refusals),
                    "done_bytes": done_bytes,
                }
                ImportJob.objects.filter(pk=job.pk).update(**counts)
        except (Raced, OperationalError) as error:
            if attempt == ATTEMPTS or not _is_lost_race(error):
                raise
        else:
            for name, value in counts.items():
                setattr(job, name, value)
            return


def _is_lost_race(error: Exception) -> bool:
    lost = (errors.DeadlockDetected, errors.SerializationFailure)
    return isinstance(error, Raced) or isinstance(error.__cause__, lost)


def _write(chunk: Chunk, importer: Importer, setup: Setup) -> Outcome:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [APPLY_LOCK])
    return importer.apply(chunk.rows, setup, for_good=True) if chunk.rows else Outcome()


def _keep_rejections(job: ImportJob, chunk: Chunk, refusals: Iterable[tuple[int, str]]) -> None:
    copy_rows(
        "customers_importrejection",
        ("job_id", "line", "reason", "raw"),
        (
            (job.pk, line, reason.replace("\0", "")[:200], [_storable(c) for c in chunk.raw[line]])
            for line, reason in refusals
        ),
    )


def _storable(cell: str) -> str:
    """A cell as jsonb can keep it: no NUL, not a megabyte."""
    cell = cell.replace("\0", reader.UNREADABLE)
    return cell if len(cell) <= MAX_RAW_CELL else cell[:MAX_RAW_CELL] + "…"


def _chunks(
    file: BinaryIO,
    job: ImportJob,
    importer: Importer,
    *,
    skip: int,
    limit: int | None = None,
    chunk_rows: int | None = None,
) -> Iterator[Chunk]:
    """The rows after the first `skip`, read and checked, in bounded portions."""
    dialect = reader.Dialect.from_json(job.dialect)
    read = importer.row_reader(dialect.columns, job.mapping, job.options)
    size = chunk_rows or CHUNK_ROWS
    chunk, weight = Chunk(), 0
    for row in islice(reader.rows(file, dialect), skip, limit):
        chunk.size += 1
        chunk.raw[row.line] = row.cells
        weight += sum(map(len, row.cells))
        try:
            if row.problem:
                raise Rejected(row.problem)
            chunk.rows.append(read(row))
        except Rejected as refusal:
            chunk.refused.append((row.line, refusal))
        if chunk.size >= size or weight >= CHUNK_CHARACTERS:
            yield chunk
            chunk, weight = Chunk(), 0
    if chunk.size:
        yield chunk


def explain_stop(job: ImportJob) -> str:
    """What to tell the owner of a file whose import broke off."""
    return _(
        "The import stopped after {rows} rows because of a fault on our side. Those rows are kept; "
        "importing the same file again goes through the rest and changes nothing twice."
    ).format(rows=job.rows)
