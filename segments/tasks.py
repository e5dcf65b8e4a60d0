from celery import shared_task

from . import follower, membership


@shared_task(ignore_result=True)
def recount_segments(limit: int = 20) -> None:
    """Count in full the segments that are due."""
    membership.refresh_due(limit=limit)


@shared_task(ignore_result=True)
def follow_changes() -> None:
    """Ask again about the people something happened to."""
    follower.follow()


@shared_task(ignore_result=True)
def drop_old_days() -> None:
    """Forget what single days did to segments long ago."""
    membership.drop_old_days()
