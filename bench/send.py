"""A dispatcher process of ours: what `campaigns.tasks.dispatch_messages` does, until nothing is due."""

from typing import Any
from uuid import uuid4

import django

from .processes import serve


def send_all() -> dict[str, Any]:
    """Send what is due; how many messages this process claimed."""
    from campaigns import dispatch

    owner, claimed = uuid4(), 0
    while batch := dispatch.dispatch_batch(owner=owner):
        claimed += batch
    return {"claimed": claimed}


if __name__ == "__main__":
    django.setup()
    from django.db import connection

    connection.ensure_connection()
    serve(send_all)
