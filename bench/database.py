"""The measuring PostgreSQL: the product's embedded server in a data folder of its own, fsync on.

It runs with the product's options but for those in OPTIONS, which a machine of any size would have.
Databases are built once, kept while nothing they are made of changes, and copied for who needs a fresh one.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg import sql

from omnicrm import embedded

BASE_DIR = Path(__file__).resolve().parent.parent
GIGABYTE = 1 << 30


def home() -> Path:
    """Where the benchmark keeps its server and its tools, once started."""
    return embedded.var_dir()


def options() -> dict[str, str]:
    """What differs from the product's embedded server: memory as a server would give it, few checkpoints."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "shared_buffers": f"{min(max(memory // 8, 256 << 20), 2 * GIGABYTE) >> 20}MB",
        "effective_cache_size": f"{memory // 2 >> 20}MB",
        "max_wal_size": "4GB",
        "checkpoint_timeout": "30min",
        "autovacuum_naptime": "15s",
    }


def start() -> None:
    """Have the measuring server run for as long as this process lives, in `bench` inside the var folder.

    Django, when set up afterwards, and every process we start use it.
    """
    folder = embedded.var_dir() / "bench"
    (folder / "staticfiles").mkdir(parents=True, exist_ok=True)
    os.environ |= {
        "OMNICRM_VAR": str(folder),
        "DATABASE_URL": "",  # Never somebody's own database, not even from .env.
        "DJANGO_SETTINGS_MODULE": "omnicrm.settings",
        "LOG_LEVEL": "WARNING",
        "HASHED_STATIC_FILES": "0",
        "BROKER_URL": "memory://localhost/",
        "OMNICRM_DATABASE": "postgres",
    }
    os.environ.pop("REDIS_URL", None)
    if not (folder / "postgres" / "PG_VERSION").exists():
        subprocess.run([sys.executable, "-m", "bench.database"], check=True, cwd=BASE_DIR)
    embedded.start()
    os.environ["REDIS_URL"] = embedded.redis_url()


def _configure() -> None:
    """Write OPTIONS into a new server; the last to leave stops it, so the next to come reads them."""
    embedded.start()
    with _server() as connection:
        for name, value in options().items():
            connection.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), value))


# --- databases ------------------------------------------------------------------------------------


def use(name: str) -> None:
    """Point Django's connection, and the processes we start, at a database."""
    from django.db import connection

    connection.close()
    connection.settings_dict["NAME"] = os.environ["OMNICRM_DATABASE"] = name


@contextmanager
def using(name: str) -> Iterator[None]:
    """`use` for as long as the block runs."""
    before = os.environ["OMNICRM_DATABASE"]
    use(name)
    try:
        yield
    finally:
        use(before)


def prepared(name: str, build: Callable[[], None], *sources: str | Path, on: str = "") -> str:
    """A migrated database with what `build` puts into it, made once and kept: its name.

    It is made again when what it is made of changed: the migrations, or the files and texts in `sources`.
    `build` runs with Django connected to it, on top of a copy of the prepared database `on` if one is named.
    Measures only read it, or roll back, or use a `copy`.
    """
    mark = _fingerprint(*sources, *([_comment(on)] if on else []))
    if _comment(name) == mark:
        return name
    _drop(name)
    _create(name, template=on or (_migrated() if build is not _migrate else "template1"))
    with using(name):
        build()
    with _server(name) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(mark))
        )
    return name


@contextmanager
def copy(of: str, name: str) -> Iterator[str]:
    """A throw-away copy of a prepared database, in use while the block runs."""
    _drop(name)
    _create(name, template=of)
    try:
        with using(name):
            yield name
    finally:
        _drop(name)


@contextmanager
def fresh(name: str) -> Iterator[str]:
    """An empty, migrated, throw-away database, in use while the block runs."""
    with copy(_migrated(), name):
        yield name


@contextmanager
def blank(name: str) -> Iterator[str]:
    """A throw-away database without any table, for a peer; its name."""
    _drop(name)
    _create(name, template="template1")
    try:
        yield name
    finally:
        _drop(name)


def settle() -> None:
    """Write out what earlier work left in memory."""
    with _server() as connection:
        connection.execute("CHECKPOINT")


def cpu_seconds() -> float:
    """Of the server with all its processes, those that ended too."""
    postmaster = (home() / "postgres" / "postmaster.pid").read_text().split()[0]
    ticks = sum(_ticks(postmaster, with_children=True))
    for child in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split():
        ticks += sum(_ticks(child, with_children=False))
    return ticks / os.sysconf("SC_CLK_TCK")


def settings() -> dict[str, str]:
    """What matters of the server, for the record."""
    with _server() as connection:
        found = connection.execute(
            "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s) ORDER BY name",
            [["server_version", "fsync", "synchronous_commit", "full_page_writes", "jit", *options()]],
        )
        return {str(name): str(value) for name, value in found}


def _ticks(pid: str, *, with_children: bool) -> list[int]:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return [int(field) for field in fields[11 : 15 if with_children else 13]]
    return []


def _server(name: str = "postgres") -> "psycopg.Connection[tuple[object, ...]]":
    host = str(embedded.socket_dir(home()))
    return psycopg.connect(host=host, user="postgres", dbname=name, autocommit=True)


def _migrated() -> str:
    return prepared("bench_empty", _migrate)


def _migrate() -> None:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def _create(name: str, *, template: str) -> None:
    with _server() as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )


def _drop(name: str) -> None:
    from django.db import connection

    if connection.settings_dict["NAME"] == name:
        use("postgres")
    with _server() as server:
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _comment(name: str) -> str:
    with _server() as connection:
        row = connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [name]
        ).fetchone()
    return str(row[0]) if row else ""


def _fingerprint(*sources: str | Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(BASE_DIR.glob("*/migrations/0*.py")):
        digest.update(path.read_bytes())
    for source in sources:
        digest.update(source.read_bytes() if isinstance(source, Path) else source.encode())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    _configure()
