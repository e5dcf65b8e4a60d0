"""Real workers, a real mail server, real SIGKILLs: nobody is forgotten, few are written to twice."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import redis
from django.conf import settings
from django.db import connection

from campaigns import dispatch
from campaigns.models import Campaign, Message
from campaigns.tests.factories import launch, make_campaign
from omnicrm import embedded

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("processes")]

PEOPLE = 2000
KILLS = 3
WORKERS = 2
IN_DOUBT = 8  # Messages a killed worker may have sent without our knowing.
BROKER_DATABASE = 15

_CROWD = """
WITH person AS (
    INSERT INTO customers_customer (public_id, status, first_name, last_name, language, city, country,
                                    timezone, traits)
    SELECT gen_random_uuid(), 'known', 'Person ' || n, '', 'en', '', '', '', '{}'
    FROM generate_series(1, %(people)s) AS n RETURNING id
), address AS (
    INSERT INTO customers_identifier (customer_id, kind, value)
    SELECT id, 'email', 'person' || id || '@x.example' FROM person
)
INSERT INTO customers_consentevent
    (customer_id, channel, purpose, state, source, wording, evidence, effective_at)
SELECT id, 'email', 'marketing', 'granted', 'test form', '', 'test', now() FROM person
"""


@pytest.fixture
def environment(sink) -> dict[str, str]:
    broker = f"redis+socket://{embedded.redis_url().removeprefix('unix://')}?virtual_host={BROKER_DATABASE}"
    return os.environ | {
        "DJANGO_SETTINGS_MODULE": "omnicrm.settings",
        "OMNICRM_DATABASE": connection.settings_dict["NAME"],
        "EMAIL_URL": f"smtp://{settings.EMAIL_HOST}:{settings.EMAIL_PORT}",
        "BROKER_URL": broker,
        "MESSAGE_LEASE_SECONDS": "3",
    }


@pytest.fixture
def flush_broker() -> Iterator[Callable[[], object]]:
    client = redis.Redis.from_url(f"{embedded.redis_url()}?db={BROKER_DATABASE}")
    client.flushdb()
    yield client.flushdb
    client.flushdb()
    client.close()


def celery(role: str, *arguments: str, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "celery", "-A", "omnicrm", role, "-l", "ERROR", *arguments]
    return subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)


def worker(number: int, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    return celery("worker", "--pool=solo", f"--hostname=w{number}@%h", environment=environment)


def kill(process: "subprocess.Popen[bytes]") -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def beat(environment: dict[str, str], tmp_path) -> Iterator[None]:
    process = celery("beat", "-s", str(tmp_path / "beat"), "--pidfile=", environment=environment)
    try:
        yield
    finally:
        kill(process)


def wait_until(condition: Callable[[], bool], *, what: str, seconds: float = 180) -> None:
    """Wait as an impatient beat would: looking for dead workers' leases all the time, which is harmless."""
    deadline = time.monotonic() + seconds
    while not condition():
        dispatch.recover_leases()
        assert time.monotonic() < deadline, f"Waited {seconds:.0f} s for {what}."
        time.sleep(0.05)


@pytest.mark.timeout(600)
def test_workers_killed_at_random_forget_nobody(sink, environment, flush_broker, tmp_path):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with connection.cursor() as cursor:
        cursor.execute(_CROWD, {"people": PEOPLE})
    campaign = launch(make_campaign())
    wanted = set(Message.objects.filter(status="planned").values_list("address", flat=True))
    assert len(wanted) == PEOPLE

    kills = sorted(chance.sample(range(50, PEOPLE - 200), KILLS))
    workers = [worker(number, environment) for number in range(WORKERS)]
    with beat(environment, tmp_path):
        try:
            for number, moment in enumerate(kills):
                wait_until(lambda moment=moment: len(sink.mails) >= moment, what=f"mail {moment}")
                for process in workers:
                    kill(process)
                if number == 1:
                    flush_broker()
                workers = [worker(number, environment) for number in range(WORKERS)]
            wait_until(
                lambda: Campaign.objects.get(pk=campaign.pk).status == "sent", what="the end of the campaign"
            )
        finally:
            for process in workers:
                kill(process)

    copies = Counter(sink.addresses)
    assert set(copies) == wanted
    assert sum(copies.values()) - PEOPLE <= IN_DOUBT * WORKERS * KILLS
    assert not Message.objects.exclude(status="sent").exists()
    ids = Counter(mail["Message-ID"] for _, mail in sink.mails)
    assert len(ids) == PEOPLE, "A repeat carries the id of the first copy."
