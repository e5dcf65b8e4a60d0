"""Statements that are worth waiting for, in processes whose statements are cut off."""

from django.db import connection


def allow_seconds(seconds: int) -> None:
    """Let each further statement of this transaction take so long, whatever the process' own limit is."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{seconds}s"])
