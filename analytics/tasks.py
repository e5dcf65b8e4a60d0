"""Doorbells of the figures that pages read."""

from celery import shared_task

from . import kept


@shared_task
def count_home() -> None:
    """Count the figures of Home again where they are old."""
    kept.count_overdue()
