import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import pytest
from django.db import OperationalError
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from campaigns import breaker, conversions, switch
from campaigns.tests.conftest import free_port
from campaigns.tests.factories import launch, make_campaign
from customers.models import ImportJob
from customers.tests.factories import make_customer
from omnicrm import metrics, standing

RULES = Path(__file__).resolve().parents[2] / "docs" / "alerts.yml"


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch):
    monkeypatch.setattr(metrics, "_last", (float("-inf"), []))


def read(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Samples by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(client: Client, **headers: str) -> dict:
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain")
    return read(answer.content.decode())


# --- who may read ---------------------------------------------------------------------------------


@pytest.mark.django_db
def test_this_machine_may_read_when_there_is_no_token(client):
    assert ("omnicrm_database_up", ()) in scraped(client)


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
def test_a_proxy_on_this_machine_does_not_lend_its_address(client, header):
    assert client.get("/metrics", headers={header: "203.0.113.7"}).status_code == 404


@pytest.mark.parametrize("address", ["203.0.113.7", "10.0.0.1", "", "nonsense"])
def test_other_machines_find_no_such_page(client, address):
    assert client.get("/metrics", REMOTE_ADDR=address).status_code == 404


@pytest.mark.django_db
def test_a_token_opens_from_anywhere_and_nothing_else_does(client, settings):
    settings.METRICS_TOKEN = "s3cret"
    from_afar = {"REMOTE_ADDR": "203.0.113.7"}
    assert client.get("/metrics", headers={"Authorization": "Bearer s3cret"}, **from_afar).status_code == 200
    for wrong in ("", "Bearer", "Bearer S3cret", "Basic s3cret", "Bearer s3cret ", "Bearer é"):
        assert client.get("/metrics", headers={"Authorization": wrong}).status_code == 404
    assert client.get("/metrics").status_code == 404


def test_it_cannot_be_posted_to(client):
    assert client.post("/metrics").status_code == 405


# --- what it says ---------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_figures_are_those_of_the_house(client):
    for number in range(3):
        make_customer(email=f"p{number}@x.example", consents=("email",))
    launch(make_campaign())
    breaker.note_failures("smtp", 20, "451 busy")
    switch.turn_sends(False, channel="sms", by="ada")

    said = scraped(client)

    email = (("channel", "email"),)
    assert said["omnicrm_messages_due", email] == 3
    assert said["omnicrm_dispatch_lag_seconds", email] > 0
    assert said["omnicrm_sends_on", email] == 1
    assert said["omnicrm_sends_on", (("channel", "sms"),)] == 0
    assert said["omnicrm_provider_breaker", (("provider", "smtp"), ("state", "open"))] == 1
    assert said["omnicrm_provider_breaker", (("provider", "smtp"), ("state", "closed"))] == 0
    assert said["omnicrm_database_connections_most", ()] >= 100


@pytest.mark.django_db
def test_several_scrapes_within_seconds_cost_one_look(client, monkeypatch):
    looks = []
    monkeypatch.setattr(metrics, "look", lambda: looks.append(1) or standing.look())
    scraped(client)
    scraped(client)
    assert len(looks) == 1
    monkeypatch.setattr(metrics, "FRESH", 0)
    scraped(client)
    assert len(looks) == 2


def test_without_the_database_it_says_so_and_still_tells_of_requests(client, monkeypatch):
    def away() -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(metrics, "look", away)
    client.get("/healthz")
    said = scraped(client)
    assert said["omnicrm_database_up", ()] == 0
    assert ("omnicrm_messages_due", (("channel", "email"),)) not in said
    healthz = (("method", "GET"), ("view", "healthz"))
    assert said["django_http_requests_latency_seconds_by_view_method_count", healthz] > 0


@pytest.mark.django_db(transaction=True)
def test_every_figure_an_alert_asks_for_exists(client):
    make_customer(email="ada@x.example", phone="+393331234567", consents=("email", "sms"))
    campaign = launch(make_campaign(channels=("email", "sms")))
    campaign.messages.filter(channel="sms").update(status="unknown", reason="no_answer")
    breaker.note_failures("smtp", 20, "451 busy")
    ImportJob.objects.create(kind="customers", status="queued", file_name="a.csv")
    conversions.follow_orders()
    client.get("/healthz")
    names = {name for name, _ in scraped(client)}

    asked = set(re.findall(r"\b(?:omnicrm|django)_\w+", RULES.read_text()))

    assert asked
    assert asked - names == set()


# --- several processes ----------------------------------------------------------------------------


@pytest.mark.xdist_group("processes")
def test_the_processes_of_a_web_server_count_together(tmp_path):
    """Whichever of the two answers, it has seen all requests; the next server begins with none."""
    port = free_port()
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "2", "--no-access-log", "omnicrm.wsgi:application"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)

    def ask(path: str) -> str:
        with urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as answer:
            return answer.read().decode()

    for _ in range(2):
        server = subprocess.Popen(command, env=environment)
        try:
            deadline = time.monotonic() + 90
            while True:
                with suppress(OSError):
                    ask("healthz")
                    break
                assert time.monotonic() < deadline
                time.sleep(0.2)
            for _ in range(39):
                ask("healthz")
            healthz = (("method", "GET"), ("view", "healthz"))
            name = "django_http_requests_latency_seconds_by_view_method_count"
            for _ in range(6):
                assert read(ask("metrics"))[name, healthz] == 40
        finally:
            server.terminate()
            server.wait(30)
    assert len(list(tmp_path.glob("omnicrm-metrics-*"))) == 1
