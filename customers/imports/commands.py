"""What `import_customers` and `import_orders` share: progress, and a summary that accounts for every row."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core.errors import DomainError
from customers.models import ImportJob

from . import jobs
from .runner import Importer

SHOWN_REJECTIONS = 10


class ImportCommand(BaseCommand):
    """Imports one CSV file, its columns recognised by their headers."""

    importer: Importer

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
        share = job.done_bytes / max(job.total_bytes, 1)
        self.stdout.write(f"  {min(share, 1):4.0%}  {job.rows:,} rows")

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
