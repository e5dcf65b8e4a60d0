"""What `import_customers` and `import_orders` share: progress, and a summary that accounts for every row."""

import time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core.errors import DomainError
from customers.models import ImportJob

from . import jobs
from .progress import clock
from .runner import Importer

SHOWN_REJECTIONS = 10
SECONDS_BETWEEN_LINES = 2


class ImportCommand(BaseCommand):
    """Imports one CSV or Excel file, its columns recognised by their headers."""

    importer: Importer
    _told_at = 0.0

    def import_file(self, path: str, options: dict[str, Any]) -> None:
        """Import and report; raises CommandError with one line when the file cannot be imported."""
        try:
            job = jobs.import_path(
                Path(path), importer=self.importer, options=options, on_progress=self.report_progress
            )
        except DomainError as error:
            raise CommandError(str(error)) from error
        self.report_rows(job)
        if job.status == ImportJob.Status.FAILED:
            raise CommandError(job.error)

    def report_progress(self, job: ImportJob) -> None:
        """A line at the beginning, and then every few seconds."""
        if not self._told_at:
            self.report_start(job)
        elif time.monotonic() - self._told_at < SECONDS_BETWEEN_LINES:
            return
        else:
            left = "" if job.seconds_left is None else f"  {clock(job.seconds_left)} left"
            self.stdout.write(
                f"  {job.share:4.0%}  {job.rows:>11,} rows  {job.rows_per_second:>8,.0f} rows/s{left}"
                f"  {job.created:,} created, {job.rejected:,} rejected"
            )
        self._told_at = time.monotonic()

    def report_start(self, job: ImportJob) -> None:
        sheet = job.dialect.get("sheet")
        self.stdout.write(f"Import {job.pk}: {job.file_name}" + (f", sheet “{sheet}”" if sheet else ""))
        if job.rows:
            self.stdout.write(f"  going on after the {job.rows:,} rows that are in")

    def report_rows(self, job: ImportJob) -> None:
        self.stdout.write(
            f"{job.file_name}: {job.rows:,} rows = {job.created:,} created + {job.updated:,} updated"
            f" + {job.unchanged:,} unchanged + {job.rejected:,} rejected"
        )
        if not job.rejected:
            return
        for rejection in job.rejections.all()[:SHOWN_REJECTIONS]:
            self.stdout.write(f"  line {rejection.line}: {rejection.reason}")
        if job.rejected > SHOWN_REJECTIONS:
            self.stdout.write(f"  … and {job.rejected - SHOWN_REJECTIONS:,} more")
        self.stdout.write(f"The rejected rows are kept with import {job.pk}, to download and mend.")
