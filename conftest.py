"""What every test needs: PostgreSQL and Valkey under var/test, in parallel runs of each process's own.

Of its own because a cluster has one count of transactions: readers of the event log wait for whatever runs
in another database of theirs.

The settings are named here and not in pyproject.toml, where pytest-django would load them before the
environment below is set.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMNICRM_VAR", str(Path(__file__).resolve().parent / "var" / "test"))
os.environ["OMNICRM_VAR"] = str(Path(os.environ["OMNICRM_VAR"], os.environ.get("PYTEST_XDIST_WORKER", "")))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "omnicrm.settings")
os.environ.setdefault("OMNICRM_POSTGRES_FSYNC", "off")  # A test database need not survive a power cut.
os.environ.setdefault("LOG_LEVEL", "WARNING")
os.environ.setdefault("HASHED_STATIC_FILES", "0")  # Nobody collects static files for a test.
os.environ.setdefault("RECOVERY_GRACE_SECONDS", "0")  # Who is dead in a test is dead.
os.environ.setdefault("BROKER_URL", "memory://")  # Tests call tasks themselves; a ring goes nowhere.

import django

from omnicrm import embedded

os.environ.pop("REDIS_URL", None)  # Tests empty their cache: never somebody else's.
django.setup()


def pytest_xdist_setupnodes() -> None:
    """Let the processes of a parallel run read the settings for themselves, after this file."""
    del os.environ["DJANGO_SETTINGS_MODULE"]


def pytest_sessionstart(session: pytest.Session) -> None:
    if not session.config.getoption("numprocesses", None):  # The one who only hands out needs no services.
        embedded.start()


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    """Throttles and other short memories do not leak from one test into the next."""
    from django.core.cache import cache

    yield
    cache.clear()


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """A request in Italian leaves its language behind in the thread; every test begins in English."""
    from django.utils import translation

    with translation.override("en"):
        yield
