"""Whether each migration can run while the house is at work, and the old code on with the new tables.

django-migration-linter reads the SQL of each; what it does not see is asked of the operations here. A finding
is mended, or stands in EXCUSED with the reason why it stops nobody; an excuse nothing needs is an error too.
"""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
APPS = ["omnicrm", "core", "inventory", "customers", "orders", "segments", "campaigns", "analytics"]

# The last migrations of the first version: up to them nobody had worked in the tables yet.
FIRST = {"campaigns": 3, "core": 2, "customers": 4, "inventory": 2, "orders": 2, "segments": 3}

EXCUSED: dict[str, dict[str, str]] = {
    "campaigns.0005_schedules": {
        "ADD_CHECK": "on campaigns, some thousands at most, and on tables made here",
        "DROP_INDEX": "of campaigns, some thousands at most",
    },
    "campaigns.0006_provider_reports": {
        "CREATE_INDEX": "the table was made two migrations before, of the same version",
        "CREATE_INDEX_EXCLUSIVE": "the table was made two migrations before, of the same version",
    },
    "campaigns.0008_occurrences_so_far": {
        "DATA": "reads messages and writes a row per campaign and day, into tables new in this version",
        "NOT_NULL": "the table is new in this version",
    },
    "campaigns.0012_switch": {"DATA": "one row, into a table made here"},
    "campaigns.0016_tracking": {"ADD_CHECK": "on brands, a handful, and on tables made here"},
}

ADVICE = {
    "ADD_CHECK": "AddConstraintNotValid here, ValidateConstraint in the next migration",
    "ADD_UNIQUE": "a unique index CONCURRENTLY first, then the constraint USING INDEX",
    "ALTER_COLUMN": "a new column, filled in portions, then switch over",
    "CREATE_INDEX": "AddIndexConcurrently, alone in its file, with atomic = False",
    "CREATE_INDEX_EXCLUSIVE": "AddIndexConcurrently, alone in its file, with atomic = False",
    "DATA": "in portions outside a transaction: atomic = False, a few thousand rows a statement",
    "DROP_COLUMN": "first a version whose code does not read it, then this one",
    "DROP_INDEX": "RemoveIndexConcurrently, alone in its file, with atomic = False",
    "DROP_TABLE": "first a version whose code does not read it, then this one",
    "NOT_NULL": "db_default, so that the old code can still insert",
    "RENAME_COLUMN": "a new column beside the old one, written by both versions",
    "RENAME_TABLE": "db_table keeps the old name",
}

_WRITES = re.compile(r"\s*(WITH\b.*?\)\s*)?(UPDATE|DELETE\s+FROM|INSERT\s+INTO)\b", re.IGNORECASE | re.DOTALL)


def main() -> int:
    """Print what is wrong, a line each; returns how many lines."""
    from django.db.migrations.loader import MigrationLoader

    loader = MigrationLoader(None)
    wrong = [
        f"{label}: excused, and not there" for label in EXCUSED if _key(label) not in loader.disk_migrations
    ]
    for (app, name), migration in sorted(loader.disk_migrations.items()):
        if app not in APPS or int(name[:4]) <= FIRST.get(app, 0):
            continue
        label = f"{app}.{name}"
        found = set(findings(migration, loader.project_state((app, name), at_end=False)))
        excused = EXCUSED.get(label, {}).keys()
        wrong += [f"{label}: {code}: {ADVICE.get(code, '')}" for code in sorted(found - excused)]
        wrong += [f"{label}: {code} is excused, and not there" for code in sorted(excused - found)]
    print("\n".join(wrong) or "Every migration can run while the house is at work.")
    return len(wrong)


def findings(migration: Any, before: Any) -> Iterator[str]:
    """Codes of what would stop the house or the old code; `before` is the project's state before it."""
    from django_migration_linter.sql_analyser import analyse_sql_statements, get_sql_analyser_class

    analyser = get_sql_analyser_class("django.db.backends.postgresql")
    errors, _, warnings = analyse_sql_statements(analyser, _sql(migration, before), [])
    yield from (issue.code for issue in (*errors, *warnings))
    yield from _of_operations(migration)


def _sql(migration: Any, before: Any) -> list[str]:
    from django.db import connection

    with connection.schema_editor(collect_sql=True, atomic=migration.atomic) as editor:
        migration.apply(before.clone(), editor, collect_sql=True)
        statements = [line for part in editor.collected_sql for line in part.splitlines()]
    return ["BEGIN;", *statements] if migration.atomic else statements


def _of_operations(migration: Any) -> Iterator[str]:
    from django.db.migrations.operations import AddConstraint, CreateModel, RunPython, RunSQL
    from django.db.models import CheckConstraint

    made = {one.name.lower() for one in migration.operations if isinstance(one, CreateModel)}
    for one in migration.operations:
        if type(one) is AddConstraint and isinstance(one.constraint, CheckConstraint):
            if one.model_name.lower() not in made:
                yield "ADD_CHECK"
        elif migration.atomic and (
            isinstance(one, RunPython) or (isinstance(one, RunSQL) and _writes_rows(one.sql))
        ):
            yield "DATA"


def _writes_rows(sql: Any) -> bool:
    statements = [sql] if isinstance(sql, str) else [one if isinstance(one, str) else one[0] for one in sql]
    return any(_WRITES.match(statement) for statement in statements)


def _key(label: str) -> tuple[str, ...]:
    return tuple(label.split("."))


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "omnicrm.settings")
    from omnicrm import embedded

    embedded.start()
    django.setup()
    sys.exit(main() > 0)
