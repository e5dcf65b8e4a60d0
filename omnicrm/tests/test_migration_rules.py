"""`.ci/migrations.py` finds what would stop a running house, and lets through how to do it instead."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.contrib.postgres.operations import (
    AddConstraintNotValid,
    AddIndexConcurrently,
    RemoveIndexConcurrently,
)
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.models import Q

pytestmark = pytest.mark.django_db(transaction=True)  # CONCURRENTLY wants none around it.


@pytest.fixture(scope="module")
def rules() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / ".ci" / "migrations.py"
    spec = importlib.util.spec_from_file_location("migration_rules", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def found(rules: ModuleType, *operations: Any, atomic: bool = True) -> set[str]:
    migration = migrations.Migration("9999_test", "campaigns")
    migration.operations, migration.atomic = list(operations), atomic
    return set(rules.findings(migration, MigrationLoader(None).project_state()))


INDEX = models.Index(fields=["provider"], name="message_by_provider")
CHECK = models.CheckConstraint(condition=Q(attempts__lte=99), name="message_tries")


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        (migrations.AddIndex("message", INDEX), "CREATE_INDEX"),
        (migrations.RemoveIndex("message", "message_by_ref"), "DROP_INDEX"),
        (migrations.AddField("message", "weight", models.IntegerField(default=0)), "NOT_NULL"),
        (migrations.RemoveField("message", "detail"), "DROP_COLUMN"),
        (migrations.RenameField("message", "detail", "words"), "RENAME_COLUMN"),
        (migrations.AlterField("message", "attempts", models.BigIntegerField(default=0)), "ALTER_COLUMN"),
        (migrations.DeleteModel("Conversion"), "DROP_TABLE"),
        (migrations.AddConstraint("message", CHECK), "ADD_CHECK"),
        (
            migrations.AddConstraint(
                "message", models.UniqueConstraint(fields=["provider", "provider_ref"], name="ref_once")
            ),
            "ADD_UNIQUE",
        ),
        (migrations.RunPython(lambda apps, editor: None), "DATA"),
        (migrations.RunSQL("UPDATE campaigns_message SET detail = ''"), "DATA"),
        (migrations.RunSQL([("DELETE FROM campaigns_click WHERE id = %s", [1])]), "DATA"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_stops_the_house_is_found(rules, operation, code):
    assert code in found(rules, operation)
    assert code in rules.ADVICE


@pytest.mark.parametrize(
    ("operation", "atomic"),
    [
        (AddIndexConcurrently("message", INDEX), False),
        (RemoveIndexConcurrently("message", "message_by_ref"), False),
        (migrations.AddField("message", "weight", models.IntegerField(null=True)), True),
        (migrations.AddField("message", "weight", models.IntegerField(db_default=0)), True),
        (AddConstraintNotValid("message", CHECK), True),
        (migrations.RunPython(lambda apps, editor: None), False),
        (migrations.RunSQL("CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'"), True),
    ],
    ids=lambda value: str(value) if isinstance(value, bool) else type(value).__name__,
)
def test_how_to_do_it_instead_is_let_through(rules, operation, atomic):
    assert found(rules, operation, atomic=atomic) == set()


def test_a_new_table_may_have_what_it_likes(rules):
    new = migrations.CreateModel(
        "Novelty",
        [("id", models.BigAutoField(primary_key=True)), ("kind", models.CharField(max_length=5))],
        options={
            "constraints": [models.CheckConstraint(condition=~Q(kind=""), name="novelty_kind")],
            "indexes": [models.Index(fields=["kind"], name="novelty_by_kind")],
        },
    )
    assert found(rules, new) == set()


def test_an_excuse_nobody_needs_is_an_error(rules, monkeypatch, capsys):
    monkeypatch.setattr(rules, "FIRST", dict.fromkeys(rules.FIRST, 9999) | {"campaigns": 12})
    monkeypatch.setitem(rules.EXCUSED, "campaigns.0013_message_troubled", {"CREATE_INDEX": "why not"})
    monkeypatch.setitem(rules.EXCUSED, "campaigns.4242_never", {})
    assert rules.main() == 2
    said = capsys.readouterr().out
    assert "campaigns.0013_message_troubled: CREATE_INDEX is excused, and not there" in said
    assert "campaigns.4242_never: excused, and not there" in said
