"""A dispatcher process of ours: what `campaigns.tasks.dispatch_messages` does, until nothing is due."""

from typing import Any
from uuid import uuid4

import django

from .processes import resident_bytes, serve


def send_all() -> dict[str, Any]:
    """Send what is due; how many messages this process claimed, and its memory after each batch."""
    from campaigns import dispatch

    claimed = 0
    memory: list[tuple[int, int]] = []
    with dispatch.Dispatcher("email", uuid4()) as dispatcher:
        while batch := dispatcher.send_batch():
            claimed += batch
            memory.append((claimed, resident_bytes()))
    return {"claimed": claimed, "memory": memory}


if __name__ == "__main__":
    django.setup()
    from django.db import connection

    from omnicrm.celery import warm_up

    warm_up()
    connection.ensure_connection()
    serve(send_all)
