"""`manage.py migrate` waits for a table for two seconds at most, and tries again."""

from io import StringIO
from threading import Event as Signal
from threading import Thread
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command
from django.core.management.commands import migrate as django_migrate
from django.db import OperationalError, connection, transaction

from omnicrm.management.commands import migrate

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT_MS", 200)
    monkeypatch.setattr(migrate, "PAUSE", 0.0)


@pytest.fixture
def migration(monkeypatch) -> SimpleNamespace:
    """A migration whose statement a test chooses, in place of the real ones; `tries` counts."""
    planned = SimpleNamespace(atomic=True, sql="SELECT 1", tries=0)

    def handle(self: django_migrate.Command, *args: object, **options: object) -> None:
        self.verbosity = 0
        planned.tries += 1
        self.migration_progress_callback("apply_start", planned)
        with connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            planned.lock_timeout = cursor.fetchone()[0]
            cursor.execute(planned.sql)

    monkeypatch.setattr(django_migrate.Command, "handle", handle)
    return planned


@pytest.fixture
def reader():
    """Somebody who reads a table in a long transaction."""
    reads, may_end = Signal(), Signal()

    def read() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT FROM campaigns_switch")
            reads.set()
            may_end.wait(60)
        connection.close()

    thread = Thread(target=read)
    thread.start()
    assert reads.wait(60)
    yield may_end
    may_end.set()
    thread.join()


def lock_timeout() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        return cursor.fetchone()[0]


def test_a_migration_in_a_transaction_waits_for_locks_no_longer_than_the_limit(migration):
    call_command("migrate")
    assert migration.lock_timeout == "200ms"
    assert lock_timeout() == "0"


def test_one_outside_a_transaction_waits_as_long_as_it_takes(migration):
    migration.atomic = False
    call_command("migrate")
    assert migration.lock_timeout == "0"


def test_it_gives_way_and_tries_again(migration, reader, monkeypatch):
    migration.sql = "ALTER TABLE campaigns_switch ALTER COLUMN reason SET DEFAULT ''"
    said = StringIO()
    monkeypatch.setattr(migrate.time, "sleep", lambda seconds: reader.set())  # The reader ends meanwhile.

    call_command("migrate", stderr=said)

    assert migration.tries >= 2
    assert "in use" in said.getvalue()


def test_it_gives_up_in_plain_words(migration, reader, monkeypatch):
    monkeypatch.setattr(migrate, "TRIES", 2)
    migration.sql = "ALTER TABLE campaigns_switch ALTER COLUMN reason SET DEFAULT ''"
    with pytest.raises(CommandError, match="pg_stat_activity"):
        call_command("migrate", stderr=StringIO())
    assert migration.tries == 2
    assert lock_timeout() == "0"


def test_other_trouble_is_not_tried_again(migration):
    migration.sql = "SET LOCAL statement_timeout = 1; SELECT pg_sleep(5)"
    with pytest.raises(OperationalError):
        call_command("migrate")
    assert migration.tries == 1
