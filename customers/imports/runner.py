"""Runs a file through an importer: rehearsed as a check, or for good, chunk by chunk, as a job.

Each chunk commits alone with its counts, its refused rows and how far the file is read, so memory is
bounded, a broken connection loses nothing and a job that was stopped goes on where it stopped.
"""

import gc
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

from django.db import OperationalError, ProgrammingError, connection, transaction
from django.utils.timezone import now
from django.utils.translation import gettext as _
from psycopg import errors

from customers.models import ImportJob

from .apply import Outcome, Setup
from .chunks import Chunk, Portions, Refusal, RowReaders, read_chunks
from .fields import Field
from .processes import chunks_of
from .staging import Raced, copy_rows

CHECK_ROWS = 25_000
MANY_ROWS = 20_000
TRIGRAM_INDEXES = ("customer_name_trigram", "identifier_trigram")
ATTEMPTS = 4
# One chunk is applied at a time in the whole house: two imports can neither deadlock nor race.
APPLY_LOCK = 7_302


class Overtaken(Exception):
    """Somebody else works through this job."""


class Importer(RowReaders, Protocol):
    """What a kind of file needs to be imported: `customers.imports.CUSTOMERS`, `orders.imports.ORDERS`."""

    kind: str
    fields: Sequence[Field]
    tables: Sequence[str]  # What it fills.

    def apply(self, rows: Sequence[Any], setup: Setup, *, for_good: bool) -> Outcome:
        """Write these rows within the caller's transaction, or only say what writing them would do.

        Raises Raced to be called again.
        """

    def ring(self, job_id: int) -> None:
        """Tell the workers that a job waits."""


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
    portions = Portions.of(job, limit=limit + 1, chunk_rows=limit)
    chunks = read_chunks(file, portions, importer)
    chunk = next(chunks, Chunk())
    with transaction.atomic():
        outcome = importer.apply(chunk.rows, setup_of(job), for_good=False) if chunk.rows else Outcome()
    refusals = sorted([*chunk.refused, *(Refusal(line, why, "", []) for line, why in outcome.rejections)])
    return Check(
        rows=chunk.size,
        is_whole=next(chunks, None) is None,
        created=outcome.created,
        updated=outcome.updated,
        unchanged=outcome.unchanged,
        rejected=len(refusals),
        by_column=Counter(refusal.column for refusal in refusals),
        examples=[(refusal.line, str(refusal)) for refusal in refusals[:20]],
    )


def run(
    file: BinaryIO,
    job: ImportJob,
    importer: Importer,
    *,
    on_progress: Callable[[ImportJob], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Import what is not yet imported of the file, keeping the job's counts and progress as it goes.

    Returns whether it came to the end of the file; `should_stop` is asked after each chunk.
    """
    job.taken_at, job.taken_rows, job.taken_bytes = now(), job.rows, job.done_bytes
    job.save(update_fields=["taken_at", "taken_rows", "taken_bytes"])
    setup = setup_of(job)
    portions = Portions.of(job, skip=job.rows)
    with closing(chunks_of(file, portions, importer)) as chunks, few_collections():
        for chunk in chunks:
            _apply_for_good(chunk, job, importer, setup)
            if on_progress:
                on_progress(job)
            if should_stop():
                return False
    if job.rows >= MANY_ROWS:
        _settle(importer.tables)
    return True


def _settle(tables: Sequence[str]) -> None:
    """After many rows: take into the trigram indexes what waits there, and count the tables anew, so that
    the next search and the next segment are planned for what is there now.

    A role that does not own the tables leaves both to autovacuum.
    """
    with suppress(ProgrammingError), transaction.atomic(), connection.cursor() as cursor:
        for index in TRIGRAM_INDEXES:
            cursor.execute("SELECT gin_clean_pending_list(%s)", [index])
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {', '.join(tables)}")


@contextmanager
def few_collections() -> Iterator[None]:
    """Look for cycles among objects rarely: millions of rows come and go that make none."""
    before = gc.get_threshold()
    gc.set_threshold(200_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def setup_of(job: ImportJob) -> Setup:
    at = job.started_at or job.created_at
    return Setup(job.file_name, at, job.by_id, job.options.get("source") or "import")


def _apply_for_good(chunk: Chunk, job: ImportJob, importer: Importer, setup: Setup) -> None:
    """Apply a chunk and account for each of its rows, in one transaction; a lost race is run again.

    Raises Overtaken, and keeps nothing, when these rows are accounted for already.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with transaction.atomic():
                outcome = _write(chunk, importer, setup)
                refusals = _keep_rejections(job, chunk, outcome.rejections)
                counts = {
                    "rows": job.rows + chunk.size,
                    "created": job.created + outcome.created,
                    "updated": job.updated + outcome.updated,
                    "unchanged": job.unchanged + outcome.unchanged,
                    "rejected": job.rejected + refusals,
                    "done_bytes": chunk.read_bytes,
                }
                # Whoever lost the lock of the job without noticing is stopped here.
                if not ImportJob.objects.filter(pk=job.pk, rows=job.rows).update(**counts):
                    raise Overtaken
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


# Nothing of a chunk is lost alone: what a crash of the database takes back, the job's count of rows takes
# back with it. A long list of what the trigram indexes have to take in spares them most of the work. What
# a chunk asks is in an index; the planner, whose statistics a filling table outruns, may not think otherwise.
_BEGIN = """
SELECT pg_advisory_xact_lock(%s), set_config('synchronous_commit', 'off', true),
    set_config('gin_pending_list_limit', '32MB', true), set_config('work_mem', '64MB', true),
    set_config('enable_seqscan', 'off', true)
"""


def _write(chunk: Chunk, importer: Importer, setup: Setup) -> Outcome:
    with connection.cursor() as cursor:
        cursor.execute(_BEGIN, [APPLY_LOCK])
    return importer.apply(chunk.rows, setup, for_good=True) if chunk.rows else Outcome()


def _keep_rejections(job: ImportJob, chunk: Chunk, rejections: Sequence[tuple[int, str]]) -> int:
    """Store the refused rows of the chunk with their lines and reasons; returns how many."""
    cells = chunk.cells_of(line for line, _why in rejections) if rejections else {}
    refused = [(refusal.line, str(refusal), refusal.cells) for refusal in chunk.refused]
    refused += [(line, why, cells[line]) for line, why in rejections]
    copy_rows(
        "customers_importrejection",
        ("job_id", "line", "reason", "raw"),
        ((job.pk, line, why.replace("\0", "")[:200], json.dumps(raw)) for line, why, raw in sorted(refused)),
    )
    return len(refused)


def explain_stop(job: ImportJob) -> str:
    """What to tell the owner of a file whose import broke off."""
    return _(
        "The import stopped after {rows} rows because of a fault on our side. Those rows are kept; "
        "importing the same file again goes through the rest and changes nothing twice."
    ).format(rows=job.rows)
