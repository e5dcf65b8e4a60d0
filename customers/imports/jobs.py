"""The life of an import: brought, mapped, checked, queued, run, found again when a worker died."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pghistory
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import OperationalError, connection, transaction
from django.template.defaultfilters import filesizeformat
from django.utils import translation
from django.utils.timezone import now
from django.utils.translation import gettext as _

from core.errors import DomainError
from customers.models import ImportJob

from . import reader, runner
from .fields import check_mapping, suggest_mapping
from .runner import Importer

if TYPE_CHECKING:
    from core.models import User

log = logging.getLogger(__name__)
JOB_LOCK = 7_301  # First half of the advisory lock whoever runs a job holds; the job's id is the second.
SAMPLE_ROWS = 50
MAX_ATTEMPTS = 5
OVERDUE = timedelta(seconds=30)


@transaction.atomic
def bring_file(upload: UploadedFile, *, importer: Importer, by: "User") -> ImportJob:
    """Keep an uploaded file as a draft, its columns mapped as we guess. Raises DomainError for no table."""
    size = upload.size or 0
    if size > settings.IMPORT_MAX_BYTES:
        raise DomainError(
            _("The file has {size}; up to {max} can be imported at once.").format(
                size=filesizeformat(size), max=filesizeformat(settings.IMPORT_MAX_BYTES)
            )
        )
    job = ImportJob(kind=importer.kind, by=by, total_bytes=size, file_name=(upload.name or "file")[-255:])
    _read_shape(job, _binary(upload), importer)
    job.file.save(job.file_name[-80:], upload, save=False)
    job.save()
    return job


@transaction.atomic
def choose_columns(
    job_id: int, *, importer: Importer, mapping: dict[str, str], options: dict[str, Any]
) -> ImportJob:
    """Say what the columns of a draft mean. Raises BadMapping when they cannot be imported like that."""
    job = _draft(job_id)
    check_mapping(mapping, job.dialect["columns"], importer.fields)
    job.mapping, job.options = mapping, options
    job.save(update_fields=["mapping", "options"])
    return job


def check_draft(job_id: int, *, importer: Importer) -> runner.Check:
    """What importing the draft would do; writes nothing."""
    job = ImportJob.objects.get(pk=job_id)
    with open_file(job) as file:
        return runner.check(file, job, importer)


@transaction.atomic
def start_import(job_id: int, *, importer: Importer, by: "User") -> ImportJob:
    """Queue a draft. A second start of the same draft is refused."""
    job = _draft(job_id)
    check_mapping(job.mapping, job.dialect["columns"], importer.fields)
    job.status, job.by, job.started_at = ImportJob.Status.QUEUED, by, now()
    job.save(update_fields=["status", "by", "started_at"])
    importer.ring(job.pk)
    return job


@transaction.atomic
def discard_draft(job_id: int) -> None:
    """Throw a draft and its file away."""
    job = _draft(job_id)
    stored = job.file
    job.delete()
    transaction.on_commit(lambda: stored.storage.delete(str(stored.name)))


def run_import(job_id: int, *, importer: Importer, should_stop: Callable[[], bool] = lambda: False) -> None:
    """Work through a queued job, or on through one whose worker died. Leaves alone what somebody runs.

    `should_stop` is asked between chunks; what is left then waits for another worker.
    """
    with _alone(job_id) as is_alone:
        if not is_alone:
            return
        job = ImportJob.objects.select_related("by").get(pk=job_id)
        if job.status not in (ImportJob.Status.QUEUED, ImportJob.Status.RUNNING):
            return
        with translation.override(job.by.language if job.by else settings.LANGUAGE_CODE):
            _attempt(job, importer, should_stop)
    if job.status == ImportJob.Status.RUNNING:
        importer.ring(job_id)


def resume_imports(importer: Importer) -> int:
    """Ring again for jobs nobody runs: lost rings and killed workers. For beat; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT objid::bigint FROM pg_locks"
            " WHERE locktype = 'advisory' AND classid = %s AND granted AND objsubid = 2",
            [JOB_LOCK],
        )
        running = [pk for (pk,) in cursor.fetchall()]
    open_jobs = ImportJob.objects.filter(
        kind=importer.kind, status__in=[ImportJob.Status.QUEUED, ImportJob.Status.RUNNING]
    )
    idle = open_jobs.filter(started_at__lt=now() - OVERDUE).exclude(pk__in=running)
    # A command reads the file where it lies: only who started it can go on.
    idle.filter(file="").update(
        status=ImportJob.Status.FAILED, finished_at=now(), error=_("The command was stopped. Run it again.")
    )
    waiting = list(idle.exclude(file="").values_list("pk", flat=True))
    for pk in waiting:
        importer.ring(pk)
    return len(waiting)


def import_path(
    path: Path,
    *,
    importer: Importer,
    options: dict[str, Any],
    on_progress: Callable[[ImportJob], None] | None = None,
) -> ImportJob:
    """Import a file of this machine as its columns suggest; goes on where an import of it was broken off.

    Raises DomainError when it is no such table or somebody is importing it; a job that broke off comes back
    failed, with the reason.
    """
    try:
        file = path.open("rb")
        stat = os.fstat(file.fileno())
    except OSError as error:
        raise DomainError(f"{path}: {error.strerror}") from error
    with file:
        options = options | {"path": str(path.resolve()), "changed": stat.st_mtime_ns}
        job = ImportJob(kind=importer.kind, file_name=path.name, total_bytes=stat.st_size, options=options)
        _read_shape(job, file, importer)
        check_mapping(job.mapping, job.dialect["columns"], importer.fields)
        job = _broken_off(job) or job
        if job.pk is None:
            job.status, job.started_at = ImportJob.Status.RUNNING, now()
            job.save()
        with _alone(job.pk) as is_alone:
            if not is_alone:
                raise DomainError(_("This file is being imported already."))
            _go_on(job)
            if on_progress:
                on_progress(job)
            _work_through(job, importer, file, on_progress=on_progress)
    return job


def _go_on(job: ImportJob) -> None:
    """Open a job that is ours alone now, as far as whoever had it before got with it."""
    job.refresh_from_db()
    job.status, job.finished_at, job.error = ImportJob.Status.RUNNING, None, ""
    job.save(update_fields=["status", "finished_at", "error"])


def _broken_off(job: ImportJob) -> ImportJob | None:
    """An import of the very same file, read the same way, that did not come to its end."""
    return ImportJob.objects.filter(
        kind=job.kind,
        file="",
        total_bytes=job.total_bytes,
        options=job.options,
        mapping=job.mapping,
        dialect=job.dialect,
        status__in=[ImportJob.Status.RUNNING, ImportJob.Status.FAILED],
        rows__gt=0,
    ).first()


def preview_rows(job: ImportJob, *, count: int = 8) -> list[reader.Row]:
    """The first rows of a job's file."""
    with open_file(job) as file:
        return _first_rows(file, reader.Dialect.from_json(job.dialect), count)


@contextmanager
def open_file(job: ImportJob) -> Iterator[BinaryIO]:
    """The job's own file. Raises DomainError when it is gone."""
    try:
        stored = job.file.open("rb")
    except (OSError, ValueError) as error:
        raise DomainError(_("The uploaded file is no longer there. Bring it again.")) from error
    with stored:
        yield _binary(stored)


def _binary(file: Any) -> BinaryIO:
    """The plain binary file inside Django's wrapper: the reader wants the real thing."""
    return getattr(file, "file", file)


def _draft(job_id: int) -> ImportJob:
    job = ImportJob.objects.select_for_update(of=("self",)).get(pk=job_id)
    if job.status != ImportJob.Status.DRAFT:
        raise DomainError(_("This import has been started already."))
    return job


def _read_shape(job: ImportJob, file: BinaryIO, importer: Importer) -> None:
    """Fill in how the file is written and what its columns seem to be."""
    dialect = reader.sniff(file)
    samples = [row.cells for row in _first_rows(file, dialect, SAMPLE_ROWS) if not row.problem]
    job.dialect = dialect.as_json()
    job.mapping = suggest_mapping(dialect.columns, samples, importer.fields)
    file.seek(0)


def _first_rows(file: BinaryIO, dialect: reader.Dialect, count: int) -> list[reader.Row]:
    return list(islice(reader.rows(file, dialect), count))


@contextmanager
def _alone(job_id: int) -> Iterator[bool]:
    """Hold the job for this connection; False when somebody has it. A dead worker lets go by itself."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [JOB_LOCK, job_id])
        is_alone = bool(cursor.fetchone()[0])
    try:
        yield is_alone
    finally:
        if is_alone and connection.is_usable():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [JOB_LOCK, job_id])


def _attempt(job: ImportJob, importer: Importer, should_stop: Callable[[], bool]) -> None:
    """One go at a job that has its file. A file that kills workers at one and the same row stops doing so."""
    is_stuck = job.options.get("stuck_at") == job.rows
    attempts = job.options.get("attempts", 0) + 1 if is_stuck else 1
    if attempts > MAX_ATTEMPTS:
        _fail(job, runner.explain_stop(job))
        return
    job.status = ImportJob.Status.RUNNING
    job.options = job.options | {"attempts": attempts, "stuck_at": job.rows}
    job.save(update_fields=["status", "options"])
    try:
        with open_file(job) as file, pghistory.context(user=job.by_id, url=f"import {job.pk}"):
            _work_through(job, importer, file, should_stop=should_stop)
    except DomainError as error:
        _fail(job, str(error))
    if job.status == ImportJob.Status.DONE:
        job.file.delete(save=True)  # The rows are in; a second copy of personal data serves nobody.


def _work_through(
    job: ImportJob,
    importer: Importer,
    file: BinaryIO,
    *,
    on_progress: Callable[[ImportJob], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Import the rest of the file and close the job, done or failed with the reason in plain words."""
    try:
        is_through = runner.run(file, job, importer, on_progress=on_progress, should_stop=should_stop)
    except runner.Overtaken:
        log.warning("import overtaken", extra={"job": job.pk})
    except OperationalError:
        if not connection.is_usable():
            raise  # The database went away: the job stays open and is found again by resume_imports.
        log.exception("import stopped", extra={"job": job.pk})
        _fail(job, runner.explain_stop(job))
    except DomainError as error:
        _fail(job, str(error))
    except Exception:
        log.exception("import stopped", extra={"job": job.pk})
        _fail(job, runner.explain_stop(job))
    else:
        if is_through:
            job.status, job.finished_at, job.done_bytes = ImportJob.Status.DONE, now(), job.total_bytes
            job.save(update_fields=["status", "finished_at", "done_bytes"])


def _fail(job: ImportJob, why: str) -> None:
    job.status, job.finished_at, job.error = ImportJob.Status.FAILED, now(), why
    job.save(update_fields=["status", "finished_at", "error"])


def sample_of(columns: Sequence[str], rows: Sequence[reader.Row]) -> dict[str, list[str]]:
    """Column to the first three different values in these rows, for the person who maps it."""
    sample: dict[str, list[str]] = {column: [] for column in columns}
    for row in rows:
        for column, cell in zip(columns, row.cells, strict=False):
            if cell.strip() and cell not in sample[column] and len(sample[column]) < 3 and not row.problem:
                sample[column].append(cell.strip())
    return sample
