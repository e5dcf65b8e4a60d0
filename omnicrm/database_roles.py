"""The database's own guard: a role for each kind of process, with what it may touch and for how long.

    omnicrm_owner     owns everything and migrates
    omnicrm_web       pages and the API: 5 seconds a statement
    omnicrm_worker    background work: 60 seconds
    omnicrm_segments  slow counting: 15 seconds, reads all, writes only what it keeps

What was said about consent, what happened, and who changed what can only be added to: no role but the owner's
holds UPDATE or DELETE there (C2, L8 of the invariants). The statements may be repeated, and have to be after
each migration that adds a table; `manage.py migrate` does it where the roles exist.
"""

from collections.abc import Iterator
from typing import Any

import pghistory.core
from django.apps import apps
from django.db import connection, transaction

from campaigns.models import Repair
from customers.models import ConsentEvent, Event

OWNER, WEB, WORKER, SEGMENTS = "omnicrm_owner", "omnicrm_web", "omnicrm_worker", "omnicrm_segments"
TIMEOUTS = {WEB: "5s", WORKER: "60s", SEGMENTS: "15s"}
IDLE_IN_TRANSACTION = "60s"
# Tables by how their names begin.
WRITTEN_BY_SEGMENTS = ("segments_", "campaigns_habit", "campaigns_daypressure", "core_cursor")
READ_ONLY = ("django_migrations",)

# Everything of ours in the schema; what belongs to an extension is its own.
_TAKE_OVER = f"""
DO $$
DECLARE thing record;
BEGIN
    FOR thing IN
        SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END AS kind,
               format('%I.%I', nspname, relname) AS name
        FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname = 'public' AND relkind IN ('r', 'p', 'v', 'S') AND relowner <> '{OWNER}'::regrole
          AND NOT EXISTS (SELECT 1 FROM pg_depend WHERE objid = pg_class.oid
                          AND deptype IN ('e', 'a', 'i') AND classid = 'pg_class'::regclass)
        UNION ALL
        SELECT 'FUNCTION', pg_proc.oid::regprocedure::text
        FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace
        WHERE nspname = 'public' AND proowner <> '{OWNER}'::regrole
          AND NOT EXISTS (SELECT 1 FROM pg_depend WHERE objid = pg_proc.oid
                          AND deptype = 'e' AND classid = 'pg_proc'::regclass)
    LOOP
        EXECUTE format('ALTER %s %s OWNER TO {OWNER}', thing.kind, thing.name);
    END LOOP;
END $$
"""  # noqa: S608 - the names are ours


def installed_version() -> int:
    """As PostgreSQL counts: 150004 is 15.4."""
    connection.ensure_connection()
    return int(connection.connection.info.server_version)


def append_only_tables() -> list[str]:
    """Tables nothing is ever changed in: consents said, events, repairs, and every history."""
    models: list[Any] = [ConsentEvent, Event, Repair, *pghistory.core.event_models()]
    return sorted(model._meta.db_table for model in models)


def in_use() -> bool:
    """Whether this database was handed to the owner's role."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM pg_class JOIN pg_roles ON pg_roles.oid = relowner"
            " WHERE relname = %s AND rolname = %s",
            [Event._meta.db_table, OWNER],
        )
        return cursor.fetchone() is not None


@transaction.atomic
def apply() -> None:
    """Create the roles, hand everything to the owner and grant what each may do. Changes nothing that is so.

    Needs a superuser, or a role that may create roles and owns the tables.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '2s'")
        for statement in statements(server_version=installed_version()):
            cursor.execute(statement)


@transaction.atomic
def grant() -> None:
    """The grants alone, as the owner after a migration."""
    with connection.cursor() as cursor:
        for statement in _grants(installed_version()):
            cursor.execute(statement)


def statements(*, server_version: int) -> Iterator[str]:
    """All of it as SQL, in order; `server_version` as libpq tells it, such as 180006."""
    for role in (OWNER, *TIMEOUTS):
        yield (
            f"DO $$ BEGIN CREATE ROLE {role} LOGIN; "
            "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )
    for role, timeout in TIMEOUTS.items():
        yield f"ALTER ROLE {role} SET statement_timeout = '{timeout}'"
        yield f"ALTER ROLE {role} SET idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION}'"
    yield f"ALTER ROLE {OWNER} SET lock_timeout = '2s'"
    yield f"ALTER ROLE {OWNER} SET idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION}'"
    yield f"GRANT {OWNER} TO CURRENT_USER"
    yield (  # /metrics counts what the connections of others do.
        f"DO $$ BEGIN GRANT pg_read_all_stats TO {', '.join(TIMEOUTS)}; "
        "EXCEPTION WHEN insufficient_privilege THEN NULL; END $$"
    )
    yield f"GRANT CREATE, USAGE ON SCHEMA public TO {OWNER}"
    yield _TAKE_OVER
    yield from _grants(server_version)


def _grants(server_version: int) -> Iterator[str]:
    roles = ", ".join(TIMEOUTS)
    doers = f"{WEB}, {WORKER}"
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {roles}, PUBLIC"
    yield f"GRANT USAGE ON SCHEMA public TO {roles}"
    yield f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {roles}"
    yield f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {roles}"
    yield f"GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {doers}"
    yield f"REVOKE UPDATE, DELETE ON {', '.join(append_only_tables())} FROM {doers}"
    yield f"REVOKE INSERT, UPDATE, DELETE ON {', '.join(READ_ONLY)} FROM {doers}"
    kept = [table for table in _tables() if table.startswith(WRITTEN_BY_SEGMENTS)]
    history = set(append_only_tables())
    yield f"GRANT INSERT ON {', '.join(kept)} TO {SEGMENTS}"
    yield f"GRANT UPDATE, DELETE ON {', '.join(set(kept) - history)} TO {SEGMENTS}"
    if server_version >= 170000:  # Workers have what they filled analysed.
        yield f"GRANT MAINTAIN ON ALL TABLES IN SCHEMA public TO {WORKER}"
    # A table of the next migration can be read and added to before the grants are given anew.
    yield (f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} IN SCHEMA public GRANT SELECT ON TABLES TO {roles}")
    yield f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} IN SCHEMA public GRANT INSERT ON TABLES TO {doers}"
    yield (
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} IN SCHEMA public "
        f"GRANT USAGE, SELECT ON SEQUENCES TO {roles}"
    )


def _tables() -> list[str]:
    models = apps.get_models(include_auto_created=True)
    return sorted({model._meta.db_table for model in models if model._meta.managed and not model._meta.proxy})
