from collections.abc import Iterator
from threading import Event as Signal

import pytest
from django.db import OperationalError
from django.test import Client
from health_check.checks import Database
from health_check.contrib.redis import Redis

from omnicrm import health


@pytest.fixture
def hanging_database(monkeypatch) -> Iterator[None]:
    is_over = Signal()
    monkeypatch.setattr(Database, "run", lambda self: is_over.wait(60))
    yield
    is_over.set()


def test_liveness_asks_nobody(client: Client):
    """Without the database fixture any query would fail this test."""
    assert client.get("/healthz").json() == {"status": "ok"}


def test_ready_when_everything_answers(client: Client, transactional_db):
    answer = client.get("/readyz")

    assert answer.status_code == 200
    assert answer.json() == {"status": "ok"}


@pytest.mark.parametrize("address", ["redis+socket:///nowhere/at/all.sock", "redis://127.0.0.1:1/0"])
def test_a_missing_broker_is_named(client: Client, transactional_db, settings, address: str):
    settings.CELERY_BROKER_URL = address

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json() == {"status": "unavailable", "failing": ["broker"]}


def test_a_missing_cache_is_named(client: Client, transactional_db, settings):
    settings.REDIS_URL = "unix:///nowhere/at/all.sock"

    assert client.get("/readyz").json() == {"status": "unavailable", "failing": ["cache"]}


def test_a_missing_database_is_named_without_its_address(client: Client, monkeypatch):
    def refuse(*args: object) -> None:
        raise OperationalError("connection to server at 10.0.0.7 failed")

    monkeypatch.setattr("health_check.checks._SelectOne.as_sql", refuse)

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["failing"] == ["database"]
    assert "10.0.0.7" not in answer.content.decode()


def test_a_hanging_database_is_given_up(client: Client, hanging_database, monkeypatch):
    assert health.PATIENCE.total_seconds() + 1 < 5
    monkeypatch.setattr(health, "PATIENCE", health.PATIENCE / 30)

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["failing"] == ["database"]


def test_nothing_else_is_asked():
    """The library's own list would resolve our host name by DNS and open a mail connection."""
    assert [type(check) for check in health._checks().values()] == [Database, Redis, health.Broker]
