"""Backups that can be restored, and copies that stay silent."""

import subprocess
from collections.abc import Iterator
from io import StringIO

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from campaigns import outbox, switch
from campaigns.models import Message, Switch
from campaigns.tests.factories import launch, make_campaign
from core.errors import DomainError
from customers.tests.factories import make_customer
from omnicrm import backup, drill, embedded

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("processes")]


@pytest.fixture
def waiting() -> None:
    """Three mails that are due: a copy that does not know better would send them to real people."""
    for number in range(3):
        make_customer(email=f"p{number}@x.example", consents=("email",))
    launch(make_campaign())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_backup_is_restored_sound_silent_and_able_to_send(waiting):
    said = StringIO()
    call_command("restore_drill", stdout=said)

    assert "every invariant holds" in said.getvalue()
    assert "4 messages waited and none left" in said.getvalue()
    assert "from nothing to the first mail" in said.getvalue()
    assert Message.objects.filter(status="planned").count() == 3  # The original is as it was.
    assert switch.why_off(["email"]) is None


def test_the_drill_fails_where_a_copy_would_send(waiting, sink):
    with pytest.raises(CommandError, match="Sending is on in the copy"):
        call_command("restore_drill", "--inside")
    assert sink.mails == []


def test_the_drill_fails_where_turning_off_does_not_help(waiting, sink, monkeypatch):
    Switch.objects.update(place="elsewhere")
    heedless = outbox._CLAIM.replace("AND (SELECT sends_are_on(%(channel)s))", "")
    assert heedless != outbox._CLAIM
    monkeypatch.setattr(outbox, "_CLAIM", heedless)
    with pytest.raises(CommandError, match="took up 4 messages although sending is off"):
        call_command("restore_drill", "--inside")


def test_the_drill_fails_where_no_mail_can_be_sent(waiting, sink):
    Switch.objects.update(place="elsewhere")
    sink.refuse_everything = True
    with pytest.raises(CommandError, match="not sent"):
        call_command("restore_drill", "--inside")


def test_a_copy_that_is_sound_passes(waiting, sink):
    Switch.objects.update(place="elsewhere")
    said = StringIO()
    call_command("restore_drill", "--inside", stdout=said)
    assert sink.addresses == [drill.READER]
    assert "4 messages waited" in said.getvalue()


# --- backup and restore ---------------------------------------------------------------------------


def test_a_backup_is_ours_alone_and_holds_what_it_takes_to_go_on(waiting, tmp_path, settings):
    settings.MEDIA_ROOT = tmp_path / "media"
    (settings.MEDIA_ROOT / "brands").mkdir(parents=True)
    (settings.MEDIA_ROOT / "brands" / "logo.png").write_bytes(b"logo")
    folder = tmp_path / "backup"

    size = backup.back_up(folder)

    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "media" / "brands" / "logo.png").read_bytes() == b"logo"
    assert "ADDRESS_HASH_KEY" in (folder / "secrets.env").read_text()
    assert size > 10_000
    with pytest.raises(DomainError, match="File exists"):
        backup.back_up(folder)


def test_nothing_is_restored_over_what_is_there(waiting, tmp_path):
    backup.back_up(tmp_path / "backup", files=False)
    with pytest.raises(CommandError, match="not empty"):
        call_command("restore", str(tmp_path / "backup"))
    with pytest.raises(CommandError, match="no backup"):
        call_command("restore", str(tmp_path))
    assert Message.objects.count() == 3


def test_what_the_tool_says_is_passed_on(tmp_path, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "NAME", "no_such_database")
    with pytest.raises(CommandError, match="no_such_database"):
        call_command("backup", str(tmp_path / "backup"))


@pytest.fixture
def another_database() -> Iterator[str]:
    name = "restored_by_hand"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")
        cursor.execute(f"CREATE DATABASE {name}")
    yield name
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_dump_restored_by_hand_is_silent_too(waiting, tmp_path, another_database):
    """With pg_restore alone; and again over a database that has been allowed to send meanwhile."""
    backup.back_up(tmp_path / "backup", files=False)
    where = connection.settings_dict
    restore = [
        embedded.tool("pg_restore"),
        "--clean",
        "--if-exists",
        "-h",
        where["HOST"],
        "-U",
        where["USER"],
    ]
    restore += ["-d", another_database, tmp_path / "backup" / "database"]

    for _ in range(2):
        subprocess.run(restore, check=True, capture_output=True)
        with psycopg.connect(host=where["HOST"], user=where["USER"], dbname=another_database) as there:
            assert there.execute("SELECT sends_are_on('email')").fetchone() == (False,)
            there.execute("UPDATE campaigns_switch SET place = place_of_database()")  # manage.py sends on
            assert there.execute("SELECT sends_are_on('email')").fetchone() == (True,)
