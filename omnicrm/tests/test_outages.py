import psycopg
import pytest
import redis
from django.db import IntegrityError, InterfaceError, InternalError, OperationalError
from django.test import Client

from core.tests.factories import make_user


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


AWAY = [
    OperationalError("connection to server at 10.0.0.7 failed: Connection refused"),
    InterfaceError("connection already closed"),
    raised_from(OperationalError("no space left on device"), psycopg.errors.DiskFull("no space")),
    raised_from(OperationalError("canceling statement"), psycopg.errors.QueryCanceled("timeout")),
    raised_from(InternalError("read-only"), psycopg.errors.ReadOnlySqlTransaction("read-only")),
    redis.ConnectionError("Connection refused"),
]
BROKEN = [ValueError("oops"), IntegrityError("duplicate"), KeyError("x")]


@pytest.fixture
def visitor(monkeypatch) -> Client:
    return Client(raise_request_exception=False)


def break_pages(monkeypatch, error: Exception) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("omnicrm.views.live", fail)
    monkeypatch.setattr("omnicrm.health.failures", fail)


@pytest.mark.parametrize("error", AWAY, ids=lambda error: type(error).__name__ + str(error)[:12])
def test_what_is_away_is_told_as_not_now(visitor, monkeypatch, error):
    break_pages(monkeypatch, error)

    answer = visitor.get("/readyz")

    assert answer.status_code == 503
    assert answer["Retry-After"] == "10"
    page = answer.content.decode()
    assert "not available just now" in page
    assert str(error) not in page


@pytest.mark.parametrize("error", BROKEN, ids=lambda error: type(error).__name__)
def test_what_is_broken_is_told_as_broken(visitor, monkeypatch, error):
    break_pages(monkeypatch, error)
    answer = visitor.get("/readyz")
    assert answer.status_code == 500
    assert "went wrong" in answer.content.decode()


def test_it_is_told_in_the_readers_language(visitor, monkeypatch):
    break_pages(monkeypatch, AWAY[0])
    answer = visitor.get("/readyz", headers={"Accept-Language": "it"})
    assert "non è disponibile" in answer.content.decode()
    assert 'lang="it"' in answer.content.decode()


@pytest.mark.django_db
def test_a_session_that_cannot_be_read_is_an_outage_too(visitor, monkeypatch):
    """It is read by a middleware, before any view."""
    visitor.force_login(make_user())
    monkeypatch.setattr(
        "django.contrib.sessions.backends.db.SessionStore._get_session_from_db",
        lambda self: (_ for _ in ()).throw(AWAY[0]),
    )
    assert visitor.get("/campaigns/").status_code == 503
