"""The product running on services of its own, for one fault: database, broker, workers, beat, web."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO

import psycopg
from psycopg import sql

from omnicrm import embedded

BASE_DIR = Path(__file__).resolve().parent.parent
DATABASE, TEMPLATE = "fault", "migrated"
LEASE = 3  # Seconds: what a dead worker held is found that soon.

CROWD = """
WITH person AS (
    INSERT INTO customers_customer (public_id, status, first_name, last_name, language, city, country,
                                    timezone, traits)
    SELECT gen_random_uuid(), 'known', 'Person ' || n, '', 'en', '', '', '', '{}'
    FROM generate_series(1, %(people)s) AS n RETURNING id
), address AS (
    INSERT INTO customers_identifier (customer_id, kind, value)
    SELECT id, 'email', 'person' || id || '@x.example' FROM person
    UNION ALL SELECT id, 'phone', '+39333' || lpad(id::text, 7, '0') FROM person
)
INSERT INTO customers_consentevent
    (customer_id, channel, purpose, state, source, wording, evidence, effective_at)
SELECT id, channel, 'marketing', 'granted', 'test form', '', 'test', now()
FROM person CROSS JOIN unnest(%(channels)s::text[]) AS channel
"""


def prepare(var: Path, *, safe: bool) -> None:
    """Start PostgreSQL and Valkey under `var`, point this process and its children at them; `safe` fsyncs."""
    os.environ |= {
        "OMNICRM_VAR": str(var),
        "OMNICRM_POSTGRES_FSYNC": "on" if safe else "off",
        "DATABASE_URL": "",
        "REDIS_URL": "",
        "DJANGO_SETTINGS_MODULE": "omnicrm.settings",
        "LOG_LEVEL": "CRITICAL",
        "HASHED_STATIC_FILES": "0",
        "MESSAGE_LEASE_SECONDS": str(LEASE),
        "RECOVERY_GRACE_SECONDS": str(2 * LEASE),
        "OMNICRM_DATABASE": DATABASE,
    }
    for name in ("DATABASE_URL", "REDIS_URL", "BROKER_URL"):
        os.environ.pop(name, None)
    embedded.start()
    with _server() as server:  # What was committed survives a crash of PostgreSQL, fsync or not.
        server.execute("ALTER SYSTEM SET synchronous_commit = on")
        server.execute("SELECT pg_reload_conf()")
    import django

    django.setup()


def fresh_database() -> None:
    """An empty, migrated database under the name every process uses, copied from one kept for that."""
    from django.db import connection

    connection.close()
    with _server() as server:
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(DATABASE)))
    _migrate_template()
    with _server() as server:
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [TEMPLATE]
        )
        server.execute(f"CREATE DATABASE {DATABASE} TEMPLATE {TEMPLATE}")
    connection.settings_dict["NAME"] = DATABASE
    from campaigns.switch import turn_sends

    turn_sends(True, reason="a copy made to be broken", by="faults")  # Copies are silent by themselves.
    broker().flushall()


@cache
def _migrate_template() -> None:
    """Bring the template up to date; once per run."""
    from django.core.management import call_command
    from django.db import connection

    with _server() as server:
        found = server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [TEMPLATE]).fetchone()
        if not found:
            server.execute(f"CREATE DATABASE {TEMPLATE}")
    connection.settings_dict["NAME"] = TEMPLATE
    call_command("migrate", verbosity=0)
    connection.close()


def broker():
    """A connection to the broker."""
    import redis

    return redis.Redis.from_url(embedded.redis_url())


@contextmanager
def _server() -> Iterator[psycopg.Connection]:
    where = embedded.database()
    with psycopg.connect(host=where["HOST"], user=where["USER"], dbname="postgres", autocommit=True) as one:
        yield one


@dataclass
class Process:
    """One process of the product, in a session of its own."""

    command: list[str]
    environment: dict[str, str]
    _process: "subprocess.Popen[bytes]" = field(init=False)

    def __post_init__(self) -> None:
        self._process = subprocess.Popen(
            self.command,
            env=self.environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=self._log(),
            cwd=BASE_DIR,
        )

    def _log(self) -> "IO[bytes]":
        """What processes complain about, all in one file beside the database."""
        return (embedded.var_dir() / "processes.log").open("ab")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal to it and to what it forked."""
        if self.is_running:
            os.killpg(self.pid, number)

    def end(self) -> None:
        """Ask it to end; what it forked hears of it from it alone, as in a container."""
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait()

    def wait(self, seconds: float) -> float:
        """Wait for it to end by itself; returns how long that took. Raises TimeoutExpired."""
        start = time.monotonic()
        self._process.wait(seconds)
        return time.monotonic() - start


class House:
    """Starts and stops the product's processes with an environment of their own."""

    def __init__(self, *, mail_port: int, **environment: str) -> None:
        self.environment = dict(os.environ) | {"EMAIL_URL": f"smtp://127.0.0.1:{mail_port}"} | environment
        self.workers: list[Process] = []
        self._others: list[Process] = []
        self._number = 0

    def __enter__(self) -> "House":
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*self.workers, *self._others]:
            process.signal(signal.SIGCONT)
            process.kill()

    def start_workers(self, count: int, *, processes: int = 1, module: str = "celery") -> list[Process]:
        """More workers with so many processes each that send; `module` is run in Celery's place."""
        started = []
        pool = ["--pool=solo"] if processes == 1 else ["-c", str(processes)]
        for _ in range(count):
            self._number += 1
            command = [sys.executable, "-m", module, "-A", "omnicrm", "worker", "-l", "WARNING", *pool]
            command += ["--without-mingle", f"--hostname=w{self._number}@%h", "--queues=celery,segments"]
            started.append(Process(command, self.environment))
        self.workers += started
        return started

    def start_beat(self) -> Process:
        self._number += 1
        command = [sys.executable, "-m", "celery", "-A", "omnicrm", "beat", "-l", "CRITICAL", "--pidfile="]
        self._others.append(Process(command, self.environment))
        return self._others[-1]

    def start_web(self, port: int) -> Process:
        command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1"]
        command += ["--port", str(port), "--workers", "1", "--blocking-threads", "4", "--no-access-log"]
        self._others.append(Process([*command, "omnicrm.wsgi:application"], self.environment))
        return self._others[-1]

    def kill_workers(self) -> int:
        """SIGKILL every worker; how many were running."""
        killed = sum(process.is_running for process in self.workers)
        for process in self.workers:
            process.signal(signal.SIGKILL)
        for process in self.workers:
            process.kill()
        self.workers = []
        return killed


def make_crowd(people: int, channels: tuple[str, ...] = ("email",)) -> None:
    """People who may be written to on these channels."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(CROWD, {"people": people, "channels": list(channels)})
        cursor.execute("ANALYZE")


def launch_campaign(channels: tuple[str, ...] = ("email",)):
    """A campaign to everybody, its messages planned."""
    from campaigns.tests.factories import launch, make_brand, make_campaign

    brand = make_brand(approval_above=2_000_000_000)  # Nobody is here to approve a large one.
    return launch(make_campaign(brand=brand, channels=channels))


def wait_until(condition: Callable[[], bool], *, what: str, seconds: float = 240) -> float:
    """Wait for a condition; returns how long it took. Raises AssertionError after `seconds`."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            raise AssertionError(f"Waited {seconds:.0f} s for {what}.")
        time.sleep(0.02)
    return time.monotonic() - start


def moments(chance: random.Random, total: int, count: int) -> list[int]:
    """Random points on the way through `total` mails, none at the very ends."""
    return sorted(chance.sample(range(total // 50, total - total // 10), count))
