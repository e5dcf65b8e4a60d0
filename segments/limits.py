"""How long a question about segments may take, and how PostgreSQL is to answer it."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.utils.translation import gettext as _
from psycopg.errors import QueryCanceled

from core.errors import DomainError

# Questions read what is in memory or on an SSD, where a page found by an index costs hardly more than the
# next one; and each keeps to one core, so that people building segments leave the others to the sending.
_PLANNER = {"random_page_cost": "1.1", "max_parallel_workers_per_gather": "0"}
_NAMES = ("statement_timeout", *_PLANNER)
_SET = ", ".join(f"set_config('{name}', %({name})s, true)" for name in _NAMES)
_SHOW = ", ".join(f"current_setting('{name}')" for name in _NAMES)


class TooSlow(DomainError):
    """The question took longer than one may."""


@contextmanager
def time_limit(limit_ms: int | None = None) -> Iterator[None]:
    """Stop the statements inside after some milliseconds, SEGMENT_TIMEOUT_MS unless said; raises TooSlow."""
    limit_ms = limit_ms or settings.SEGMENT_TIMEOUT_MS
    is_within = connection.in_atomic_block  # Else the settings end with our own transaction.
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            wanted = _PLANNER | {"statement_timeout": str(limit_ms)}
            cursor.execute(f"SELECT {_SHOW}, {_SET}", wanted)
            before = dict(zip(_NAMES, cursor.fetchone(), strict=False))
            yield
            if is_within:
                cursor.execute(f"SELECT {_SET}", before)
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        raise TooSlow(
            _(
                "This takes longer than {seconds} seconds to count. Narrow it: a shorter window, "
                "fewer conditions, or a segment inside the segment."
            ).format(seconds=round(limit_ms / 1000))
        ) from error


def web_limit() -> int:
    """What somebody who waits for a page may wait, in milliseconds."""
    limit: int = settings.SEGMENT_WEB_TIMEOUT_MS
    return limit
