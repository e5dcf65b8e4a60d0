"""What a page says when something it needs is away or full: not now, rather than that we broke."""

import sys

import kombu.exceptions
import psycopg
import redis
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.defaults import server_error

# The database is away or starting, its disk full, a statement or a lock took too long; a standby that does
# not write yet; the cache or the broker away. The same request may succeed in a moment.
OUTAGES = (
    OperationalError,
    InterfaceError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    redis.ConnectionError,
    redis.TimeoutError,
    kombu.exceptions.OperationalError,
)
RETRY_AFTER = 10  # Seconds.


def failed(request: HttpRequest) -> HttpResponse:
    """The page for an exception nobody caught: 503 while something is away, else 500. Asks no database."""
    if not _is_outage(sys.exc_info()[1]):
        return server_error(request)
    answer = render(None, "503.html", status=503)
    answer["Retry-After"] = str(RETRY_AFTER)
    answer["Cache-Control"] = "no-store"
    return answer


def _is_outage(error: BaseException | None) -> bool:
    """Whether an exception, or what it was raised from, comes of something being away."""
    while error is not None:
        if isinstance(error, OUTAGES):
            return True
        error = error.__cause__
    return False
