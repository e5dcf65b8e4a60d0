from celery import shared_task
from celery.worker import state

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


def is_asked_to_stop() -> bool:
    """Whether this worker was told to end: what is left of a file waits for another one."""
    return state.should_stop is not None or state.should_terminate is not None
