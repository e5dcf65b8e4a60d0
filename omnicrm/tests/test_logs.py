import json
import logging

import pytest
import structlog
from django.conf import settings as django_settings
from django.test import Client

from core.logs import hide_addresses
from core.tests.factories import make_user

PASSWORD = "a quiet evening by the sea"


@pytest.fixture
def log_lines(monkeypatch):
    """Every line the process writes while the test runs, as the JSON a production process would write."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                *django_settings.LOGGING["formatters"]["line"]["processors"][:-1],
                structlog.processors.JSONRenderer(),
            ],
            foreign_pre_chain=django_settings.LOG_PROCESSORS,
        )
    )
    monkeypatch.setattr(handler, "emit", lambda record: lines.append(handler.format(record)))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield lines
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.mark.django_db
def test_a_request_is_one_line_with_ids_and_no_address(client: Client, log_lines):
    user = make_user()
    client.force_login(user)
    log_lines.clear()

    client.get("/search/", {"q": "chiara.moretti@example.com"})

    [line] = [json.loads(line) for line in log_lines]
    assert line["event"] == "request_finished"
    assert line["request"] == "GET search/"
    assert line["user_id"] == user.pk
    assert line["code"] == 200
    assert line["request_id"]
    assert line["level"] == "info"
    assert "ip" not in line


@pytest.mark.django_db
def test_signing_in_and_searching_leaves_no_address_in_the_logs(client: Client, log_lines):
    user = make_user(password=PASSWORD)

    client.post("/account/login/", {"login": user.email, "password": "wrong"})
    client.post("/account/login/", {"login": user.email, "password": PASSWORD})
    client.get("/search/", {"q": user.email})
    client.get(f"/no/such/page/{user.email}", {"q": user.email})

    assert len(log_lines) >= 4
    assert "@" not in "".join(log_lines)
    assert PASSWORD not in "".join(log_lines)


def test_addresses_in_the_words_of_an_exception_are_hidden():
    event = {
        "event": "request_failed",
        "exception": "DETAIL: Key (lower(email))=(chiara.moretti@example.com) exists, or +39 340 5550147.",
        "positional": ("anna@example.com", 7),
        "code": 500,
        "nothing": None,
    }

    line = hide_addresses(None, "error", event)

    assert line["exception"] == "DETAIL: Key (lower(email))=([email]) exists, or [phone]."
    assert line["positional"] == ["[email]", 7]
    assert line["code"] == 500
    assert line["nothing"] is None
