from celery import shared_task

from core.workers import is_asked_to_stop

from . import imports
from .imports import jobs


@shared_task
def run_import(job_id: int) -> None:
    """Work through a customer file; a job somebody runs already is left alone."""
    jobs.run_import(job_id, importer=imports.CUSTOMERS, should_stop=is_asked_to_stop)


@shared_task
def resume_imports() -> None:
    """Ring again for customer files nobody works on."""
    jobs.resume_imports(imports.CUSTOMERS)
