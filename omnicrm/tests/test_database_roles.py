"""What each role of the database is refused, tried as that role."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from uuid import uuid4

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import ProgrammingError, connection, transaction
from django.test import Client
from django.utils.timezone import now
from psycopg.errors import InsufficientPrivilege

from campaigns import conversions, dispatch, outbox, services, switch
from campaigns.models import Campaign, Repair
from campaigns.results import count_overdue
from campaigns.tests.factories import make_campaign, make_segment
from core.tests.factories import make_user
from customers.models import ConsentEvent, Event
from customers.services import record_consent, suppress_address
from customers.tests.factories import make_customer, make_event
from omnicrm import database_roles, standing
from omnicrm.database_roles import OWNER, SEGMENTS, WEB, WORKER
from omnicrm.invariants import check_invariants
from segments import follower, membership
from segments.models import Segment

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("roles")]

APPEND_ONLY = ["customers_consentevent", "customers_event", "campaigns_repair", "customers_customerhistory"]


@pytest.fixture(scope="module")
def roles(django_db_setup, django_db_blocker) -> Iterator[None]:
    """The roles, in this database, for the tests of this module; then everything is as it was."""
    with django_db_blocker.unblock():
        database_roles.apply()
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(f"REASSIGN OWNED BY {OWNER} TO CURRENT_USER")
        for role in (WEB, WORKER, SEGMENTS, OWNER):
            cursor.execute(f"DROP OWNED BY {role}")


@contextmanager
def acting_as(role: str) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(f"SET ROLE {role}")
        try:
            yield
        finally:
            cursor.execute("RESET ROLE")


def refused(sql: str) -> bool:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql)
    except ProgrammingError as error:
        return isinstance(error.__cause__, InsufficientPrivilege)
    return False


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [WEB, WORKER, SEGMENTS])
@pytest.mark.parametrize("table", APPEND_ONLY)
def test_nobody_but_the_owner_changes_what_can_only_be_added_to(roles, role, table):
    with acting_as(role):
        assert refused(f"UPDATE {table} SET id = id")
        assert refused(f"DELETE FROM {table}")
        assert refused(f"TRUNCATE {table}")
        assert refused(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        assert not refused(f"SELECT FROM {table} LIMIT 1")


@pytest.mark.parametrize("role", [WEB, WORKER, SEGMENTS])
def test_nobody_but_the_owner_changes_the_shape_of_things(roles, role):
    with acting_as(role):
        assert refused("CREATE TABLE mine (id int)")
        assert refused("DROP TABLE campaigns_message")
        assert refused("UPDATE django_migrations SET name = name")
        assert refused(
            "CREATE OR REPLACE FUNCTION log_base() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'"
        )


def test_segments_write_nothing_but_what_they_keep(roles):
    with acting_as(SEGMENTS):
        assert refused("UPDATE customers_customer SET first_name = ''")
        assert refused("DELETE FROM campaigns_message")
        assert refused(
            "INSERT INTO customers_suppression (channel, address_hash, reason) VALUES ('a', 'b', 'c')"
        )
        assert not refused("DELETE FROM segments_touch")


# --- what still works -----------------------------------------------------------------------------


def test_staff_work_as_the_web_role(roles, sink):
    customer = make_customer(email="ada@x.example", consents=("email",))
    campaign = make_campaign()
    client = Client()
    with acting_as(WEB):
        client.force_login(campaign.created_by)
        for path in ("/", "/customers/", f"/customers/{customer.public_id}/", campaign.get_absolute_url()):
            assert client.get(path).status_code == 200
        record_consent(customer.pk, channel="email", state="revoked", source="phone")
        suppress_address(channel="email", address="eve@x.example", reason="manual")
        services.schedule_campaign(campaign.pk, send_at=None, by=campaign.created_by)
        assert ConsentEvent.objects.count() == 2


def test_workers_send_and_count_as_the_worker_role(roles, sink):
    ada = make_customer(email="ada@x.example", consents=("email",))
    campaign = make_campaign()
    services.schedule_campaign(campaign.pk, send_at=now() - timedelta(seconds=1), by=make_user())
    with acting_as(WORKER):
        assert services.launch_due() == 1
        assert dispatch.dispatch_batch(owner=uuid4(), channels=["email"]) == 1
        services.finish_campaigns()
        outbox.recover_leases()
        make_event(ada, "Order Completed")
        conversions.follow_orders()
        while count_overdue():
            pass
        switch.turn_sends(False, by="ada")
        assert standing.look().database.most
    assert len(sink.mails) == 1
    assert Campaign.objects.get().status == "sent"
    assert Event.objects.filter(name="Message Sent").count() == 1


def test_segments_are_counted_as_their_role(roles):
    ada = make_customer()
    segment = make_segment()
    with acting_as(SEGMENTS):
        membership.refresh_due(limit=5)
        follower.follow()
    make_event(ada, "Store Visited")
    with acting_as(SEGMENTS):
        follower.follow()
    assert Segment.objects.get(pk=segment.pk).match_count == 1


# --- keeping it so --------------------------------------------------------------------------------


def test_repeating_changes_nothing_and_migrating_grants_what_is_new(roles):
    with connection.cursor() as cursor:
        cursor.execute(f"SET ROLE {OWNER}; CREATE TABLE customers_newcomer (id int); RESET ROLE")
        with acting_as(WEB):
            assert not refused("INSERT INTO customers_newcomer VALUES (1)")  # New code may add at once,
            assert refused("DELETE FROM customers_newcomer")  # but nobody forgets to decide about the rest.
        call_command("migrate", verbosity=0)
        with acting_as(WEB):
            assert not refused("DELETE FROM customers_newcomer")
            assert refused("DELETE FROM customers_consentevent")
        cursor.execute("DROP TABLE customers_newcomer")


def test_c2_a_role_that_may_change_what_was_said_is_found(roles):
    def broken() -> list[str]:
        return [one for found in check_invariants() if found.invariant.code == "C2" for one in found.examples]

    assert broken() == []
    with connection.cursor() as cursor:
        cursor.execute(f"GRANT DELETE ON customers_consentevent TO {WORKER}")
        found = broken()
        cursor.execute(f"REVOKE DELETE ON customers_consentevent FROM {WORKER}")
    assert found == [f"{WORKER} may change customers_consentevent"]


def test_every_history_and_the_record_of_repairs_are_guarded():
    tables = database_roles.append_only_tables()
    assert set(APPEND_ONLY) <= set(tables)
    assert Repair._meta.db_table in tables
    assert all(table.endswith("history") for table in set(tables) - set(APPEND_ONLY))


def test_the_command_prints_what_it_would_do():
    out = StringIO()
    call_command("database_roles", "--print", stdout=out)
    assert f"ALTER ROLE {WEB} SET statement_timeout = '5s';" in out.getvalue()
    assert "PASSWORD" not in out.getvalue()


# --- how long things may take ---------------------------------------------------------------------


@pytest.mark.parametrize(("role", "timeout"), [(WEB, "5s"), (WORKER, "60s"), (SEGMENTS, "15s")])
def test_each_role_has_its_time(roles, role, timeout):
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolconfig FROM pg_roles WHERE rolname = %s", [role])
        [(limits,)] = cursor.fetchall()
    assert f"statement_timeout={timeout}" in limits
    assert "idle_in_transaction_session_timeout=60s" in limits


@pytest.mark.parametrize(
    ("process", "timeout"), [("web", "5s"), ("worker", "1min"), ("segments", "15s"), ("", "0")]
)
def test_each_kind_of_process_has_its_time_without_roles_too(django_in, process, timeout):
    shown = django_in(
        {"OMNICRM_PROCESS": process},
        "c.execute('SHOW statement_timeout'); print(c.fetchone()[0]);"
        "c.execute('SHOW idle_in_transaction_session_timeout'); print(c.fetchone()[0])",
    )
    assert shown.split() == [timeout, "1min"]


def test_one_login_may_take_a_role(roles, django_in):
    assert django_in(
        {"DATABASE_ROLE": WEB}, "c.execute('SELECT current_user'); print(*c.fetchone())"
    ).split() == [WEB]


def test_what_the_address_of_the_database_asks_for_is_kept(django_in):
    """Such as sslmode, which must not get lost beside our own options."""
    where = connection.settings_dict
    address = f"postgres://{where['USER']}@/{where['NAME']}?host={where['HOST']}&sslmode=prefer&options=-c%20jit%3Doff"
    shown = django_in(
        {"DATABASE_URL": address, "OMNICRM_PROCESS": "web", "REDIS_URL": settings.REDIS_URL}
        | {"SECRET_KEY": "x", "ADDRESS_HASH_KEY": "y"},
        "c.execute('SHOW jit'); print(c.fetchone()[0]); c.execute('SHOW statement_timeout');"
        "print(c.fetchone()[0], connection.settings_dict['OPTIONS']['sslmode'])",
    )
    assert shown.split() == ["off", "5s", "prefer"]


@pytest.fixture
def django_in() -> Callable[[dict[str, str], str], str]:
    """Run Python with Django set up in an environment of its own; returns what it printed."""

    def run(environment: dict[str, str], code: str) -> str:
        setup = "import django; django.setup(); from django.db import connection; c = connection.cursor();"
        environment = os.environ | {"OMNICRM_DATABASE": connection.settings_dict["NAME"]} | environment
        done = subprocess.run(
            [sys.executable, "-c", setup + code], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
