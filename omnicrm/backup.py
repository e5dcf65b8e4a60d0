"""A copy of the house to go on from: the database, the uploaded files and, where they are ours, the secrets.

A dump is made by pg_dump while everything runs, as of one moment. Restored, it is a copy that sends nothing
until somebody says so (`campaigns.switch`), and its event log goes on where it ended (`core.cursor`).
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.db import connection

from campaigns.models import Switch
from core.errors import DomainError

from . import embedded

DATABASE, MEDIA, SECRETS = "database", "media", "secrets.env"
JOBS = 2  # Connections pg_dump and pg_restore use at a time.


def back_up(folder: Path, *, files: bool = True) -> int:
    """Write a backup into a new folder that only we can read; returns its bytes.

    Raises DomainError when the folder exists already, or with the tool's own words.
    """
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise DomainError(f"{folder}: {error.strerror}") from error
    _run("pg_dump", "--format=directory", f"--jobs={JOBS}", "--compress=1", f"--file={folder / DATABASE}")
    if files and settings.MEDIA_ROOT.exists():
        shutil.copytree(settings.MEDIA_ROOT, folder / MEDIA)
    if files and settings.IS_EMBEDDED:
        shutil.copy2(embedded.secrets_file(), folder / SECRETS)
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def restore(folder: Path) -> None:
    """Fill the empty database the settings name, and the folder of uploads, from a backup; then migrate.

    Raises DomainError when there is no backup in the folder, when the database is not empty, or with the
    tool's own words.
    """
    if not (folder / DATABASE / "toc.dat").exists():
        raise DomainError(f"There is no backup in {folder}.")
    if found := connection.introspection.table_names():
        raise DomainError(f"The database is not empty: it has {len(found)} tables. Nothing was restored.")
    connection.close()
    _run(
        "pg_restore", "--no-owner", "--no-privileges", "--no-comments", "--exit-on-error", f"--jobs={JOBS}",
        str(folder / DATABASE),
    )  # fmt: skip
    if (folder / MEDIA).exists():
        shutil.copytree(folder / MEDIA, settings.MEDIA_ROOT, dirs_exist_ok=True)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # A dump has no statistics, and without them every page is slow.
    call_command("migrate", verbosity=0, interactive=False)
    # It knows by itself that it is a copy, unless it is from before houses knew, or had nothing to send.
    Switch.objects.update(is_on=False, reason="restored from a backup", by="manage.py restore")


def _run(tool: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs on the database the settings name."""
    where: dict[str, Any] = connection.settings_dict
    environment = os.environ | {
        name: str(where[key])
        for name, key in (
            ("PGHOST", "HOST"),
            ("PGPORT", "PORT"),
            ("PGUSER", "USER"),
            ("PGPASSWORD", "PASSWORD"),
            ("PGDATABASE", "NAME"),
        )
        if where.get(key)
    }
    if mode := where.get("OPTIONS", {}).get("sslmode"):
        environment["PGSSLMODE"] = mode
    if tool == "pg_restore":
        arguments = (f"--dbname={where['NAME']}", *arguments)
    done = subprocess.run(
        [embedded.tool(tool), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DomainError(f"{tool}: {done.stderr.strip()[-2000:]}")
