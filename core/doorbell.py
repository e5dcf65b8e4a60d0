"""Ringing Celery so that nothing depends on it: beat finds all work in the database anyway."""

from typing import Any

import structlog
from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

log = structlog.get_logger(__name__)


def ring(task: str, *args: Any) -> None:
    """Queue a task by its dotted name once the transaction has committed.

    A broker that is down loses only the ring, never the work.
    """

    def send() -> None:
        try:
            current_app.send_task(task, args)
        except (OperationalError, OSError) as error:
            log.warning("ring_lost", task=task, error=type(error).__name__)

    transaction.on_commit(send)
