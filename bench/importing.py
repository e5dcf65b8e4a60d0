"""An importing process of ours: what `manage.py import_customers` does."""

import os
import resource
import sys
from pathlib import Path
from typing import Any

import django

from .processes import serve


def import_file(path: Path) -> dict[str, Any]:
    """The job's counts, and the peak memory of the process it had the file read by."""
    from customers.imports import CUSTOMERS, jobs

    job = jobs.import_path(path, importer=CUSTOMERS, options={})
    counts = {name: getattr(job, name) for name in ("rows", "created", "updated", "unchanged", "rejected")}
    reader_bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {"status": job.status, "error": job.error, "reader_bytes": reader_bytes, **counts}


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "omnicrm.settings")
    django.setup()
    from django.db import connection

    connection.ensure_connection()
    serve(lambda: import_file(Path(sys.argv[1])))
