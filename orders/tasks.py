from celery import shared_task

from core.workers import is_asked_to_stop
from customers.imports import jobs

from .imports import ORDERS


@shared_task
def run_import(job_id: int) -> None:
    """Work through an order file; a job somebody runs already is left alone."""
    jobs.run_import(job_id, importer=ORDERS, should_stop=is_asked_to_stop)


@shared_task
def resume_imports() -> None:
    """Ring again for order files nobody works on."""
    jobs.resume_imports(ORDERS)
