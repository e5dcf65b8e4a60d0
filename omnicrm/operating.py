"""What the commands of those who run the house share."""

import getpass
import os
from argparse import ArgumentParser
from typing import Any

from celery import current_app
from django.conf import settings
from kombu import Connection
from kombu.exceptions import OperationalError

from campaigns.repair import Found, Selection
from customers.models import Channel

BROKER_PATIENCE = 2  # Seconds.


def operator() -> str:
    """Who sits at the command line, for the record."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # A container's user without a name.
        return f"user {os.getuid()}"


def add_selection(parser: ArgumentParser) -> None:
    """--campaign and --channel, as every command that touches messages has them."""
    parser.add_argument("--campaign", type=int, help="the number in the address of its page")
    parser.add_argument("--channel", choices=Channel.values, default="")


def add_consent(parser: ArgumentParser) -> None:
    """--yes, without which nothing is done, and --reason, for the record."""
    parser.add_argument("--yes", action="store_true", help="do it; without this it is only told")
    parser.add_argument("--why", default="", help="kept with who did it")


def selection_of(options: dict[str, Any], **fields: str) -> Selection:
    """What was asked for. Raises DomainError for what does not exist."""
    return Selection(campaign=options["campaign"], channel=options["channel"], **fields)


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """Rows under their heads: numbers to the right, the rest to the left."""
    texts = [tuple(_said(cell) for cell in row) for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *texts, strict=True)]
    numeric = [all(isinstance(row[place], int | float) for row in rows) for place in range(len(head))]
    lines = []
    for line in (head, *texts):
        cells = zip(line, widths, numeric, strict=True)
        lines.append(
            "  ".join(f"{c:>{w}}" if is_number else f"{c:<{w}}" for c, w, is_number in cells).rstrip()
        )
    return "\n".join(lines)


def age(seconds: float) -> str:
    """A span as people say it: 42s, 3m, 5h, 2d; a dash for none."""
    if seconds <= 0:
        return "–"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def found_table(found: list[Found]) -> str:
    """Messages somebody is about to touch, a line for those alike."""
    return table(
        ("campaign", "", "is", "channel", "messages are", "because", "how many", "expired"),
        [
            (
                str(one.campaign),
                one.name[:40],
                one.campaign_status,
                one.channel,
                one.status,
                one.reason or "–",
                one.messages,
                one.expired,
            )
            for one in found
        ],
    )


def rings_waiting() -> dict[str, int] | None:
    """How many rings wait in each Celery queue; None when the broker does not answer."""
    routes = settings.CELERY_TASK_ROUTES.values()
    names = {current_app.conf.task_default_queue, *(route["queue"] for route in routes)}
    options = {"socket_timeout": BROKER_PATIENCE, "socket_connect_timeout": BROKER_PATIENCE}
    broker = Connection(settings.CELERY_BROKER_URL, transport_options=options)
    try:
        with broker:
            broker.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_PATIENCE)
            channel = broker.channel()
            return {name: _length(channel, name) for name in sorted(names)}
    except (OperationalError, *broker.connection_errors, *broker.channel_errors):  # type: ignore[misc]
        return None


def _length(channel: Any, queue: str) -> int:
    length: int = channel.queue_declare(queue, durable=True, auto_delete=False).message_count
    return length


def _said(cell: Any) -> str:
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:,.1f}" if isinstance(cell, float) else str(cell)
