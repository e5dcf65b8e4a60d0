from celery import shared_task

from . import services


@shared_task(ignore_result=True)
def recount_segments(minutes: int = 60, limit: int = 20) -> None:
    """Recount segments whose figures are older than this, the longest waiting first."""
    services.recount_stale(minutes=minutes, limit=limit)
