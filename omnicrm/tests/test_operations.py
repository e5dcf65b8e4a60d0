"""The commands of those who run the house, and the look they share with /metrics."""

import io
import json
from datetime import timedelta
from threading import Thread
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from campaigns import breaker, dispatch, inbox, outbox, pace, services, switch
from campaigns.models import Message, ProviderReport, Repair
from campaigns.results import count_overdue
from campaigns.tests.factories import launch, make_campaign, read_the_whole_log
from customers.models import ImportJob
from customers.tests.factories import make_customer, make_event
from omnicrm import operating, standing
from segments.models import Segment

pytestmark = pytest.mark.django_db(transaction=True)


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out, no_color=True)
    return out.getvalue()


@pytest.fixture
def campaign(sink):
    for number in range(10):
        make_customer(
            email=f"p{number}@x.example",
            phone=f"+3933300{number:05}",
            consents=("email", "sms"),
        )
    return launch(make_campaign(channels=("email", "sms")))


def lane(channel: str) -> standing.Lane:
    return next(one for one in standing.look().lanes if one.channel == channel)


# --- the look -------------------------------------------------------------------------------------


def test_an_empty_house_can_be_looked_at():
    seen = standing.look()
    assert [one.due for one in seen.lanes] == [0, 0]
    assert json.loads(json.dumps(seen.as_json()))["inbox"] == {"waiting": 0, "oldest_due": 0, "dead": 0}


def test_what_waits_is_held_and_in_doubt_is_seen_by_channel(campaign):
    campaign.messages.filter(channel="email").update(due_at=now() - timedelta(minutes=7))
    owner = uuid4()
    claimed = [one.id for one in outbox.claim(owner, "email", 6)]
    outbox.fence(owner, claimed[:4])
    Message.objects.filter(pk__in=claimed[:3]).update(lease_until=now() - timedelta(seconds=1))

    email, sms = lane("email"), lane("sms")

    assert (email.due, email.leased, email.sending, email.in_doubt) == (4, 2, 1, 3)
    assert 400 < email.oldest_due < 500
    assert (sms.due, sms.leased) == (10, 0)


def test_what_a_paused_campaign_holds_is_not_due(campaign):
    services.pause_campaign(campaign.pk, by=campaign.created_by)
    assert lane("email").due == 0
    assert lane("email").oldest_due == 0


def test_a_long_queue_is_counted_so_far_and_no_further(campaign, monkeypatch):
    monkeypatch.setattr(standing, "MANY", 7)
    assert lane("email").due == 7


def test_what_failed_and_what_nobody_knows_is_seen_by_its_reason(campaign):
    failed = campaign.messages.filter(channel="email")[:3]
    Message.objects.filter(pk__in=failed).update(status="failed", reason="poison", settled_at=now())
    campaign.messages.filter(channel="sms").update(
        status="unknown", reason="no_answer", settled_at=now() - timedelta(hours=25)
    )

    trouble = {(one.channel, one.status, one.reason): one for one in standing.look().trouble}

    assert trouble["email", "failed", "poison"].messages == 3
    assert trouble["sms", "unknown", "no_answer"].messages == 10
    assert trouble["sms", "unknown", "no_answer"].oldest > 24 * 3600


def test_providers_paces_and_reports_are_seen(campaign):
    breaker.note_failures("smtp", 20, "451 busy")
    pace.take({"provider:twilio": 1}, {"provider:twilio": 5.0})
    inbox.receive([inbox.Notice(provider="twilio", channel="sms", kind="delivered", event_id="1", message=1)])
    inbox.bury(provider="twilio", channel="sms", body=b"{", error=ValueError("no JSON"))
    ProviderReport.objects.filter(dead_at=None).update(due_at=now() - timedelta(minutes=3))

    seen = standing.look()

    [smtp] = seen.providers
    assert (smtp.provider, smtp.state, smtp.failures, smtp.detail) == ("smtp", "open", 20, "451 busy")
    assert 0 < smtp.rests_for < 10
    assert [one.key for one in seen.paces] == ["provider:twilio"]
    assert (seen.inbox.waiting, seen.inbox.dead) == (1, 1)
    assert 170 < seen.inbox.oldest_due < 250


def test_imports_segments_and_log_readers_are_seen(campaign):
    ImportJob.objects.create(kind="customers", status="queued", file_name="a.csv")
    ImportJob.objects.create(kind="customers", status="running", file_name="b.csv", rows=500)
    Segment.objects.update(counted_at=now(), due_at=now() + timedelta(hours=1))
    Segment.objects.create(name="Late", counted_at=now(), due_at=now() - timedelta(minutes=10))
    person = make_customer()
    make_event(person, "Order Completed")
    read_the_whole_log(1)
    lag_before = {one.name: one.lag for one in standing.look().readers}
    make_event(person, "Store Visited")

    seen = standing.look()

    assert [(one.kind, one.queued, one.running, one.rows) for one in seen.imports] == [
        ("customers", 1, 1, 500)
    ]
    assert seen.segments.due == 1
    assert 590 < seen.segments.overdue < 700
    assert lag_before["campaigns.conversions"] == 0
    assert {one.name: one.lag > 0 for one in seen.readers}["campaigns.conversions"]


def test_counts_are_those_campaigns_keep(campaign):
    dispatch.dispatch_batch(owner=uuid4(), channels=["email"])
    while count_overdue():
        pass
    counts = {(one.channel, one.state): one.messages for one in standing.look().messages}
    assert counts["email", "sent"] == 10
    assert counts["sms", "waiting"] == 10
    assert lane("email").sent_last_minute == 10


def test_a_look_takes_a_fixed_number_of_queries_and_reads_no_table_of_messages(campaign):
    """Messages are a million, or soon will be: only their partial indexes may be read."""
    with CaptureQueriesContext(connection) as queries:
        standing.look()
    assert len(queries) == 18
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        for query in queries:
            if "campaigns_message" in query["sql"] and "SELECT" in query["sql"]:
                cursor.execute(f"EXPLAIN {query['sql']}")
                plan = "\n".join(row[0] for row in cursor.fetchall())
                assert "Seq Scan on campaigns_message" not in plan
                assert "message_once" not in plan
        cursor.execute("RESET enable_seqscan")


# --- queues ---------------------------------------------------------------------------------------


def test_queues_tells_people_and_programs_the_same(campaign, monkeypatch):
    switch.turn_sends(False, channel="sms", reason="no credit", by="ada")
    breaker.note_failures("smtp", 20, "451 busy")
    campaign.messages.filter(address="p0@x.example").update(
        status="failed", reason="poison", settled_at=now()
    )
    monkeypatch.setattr(operating, "rings_waiting", lambda: None)

    text, told = run("queues"), json.loads(run("queues", "--json"))

    assert "OFF: no credit" in text
    assert "451 busy" in text
    assert "poison" in text
    assert [one["why_off"] for one in told["lanes"]] == ["", "no credit"]
    assert [one["due"] for one in told["lanes"]] == [9, 10]


def test_a_broker_that_is_away_is_said_and_waited_for_no_longer_than_a_moment(settings):
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"
    assert operating.rings_waiting() is None
    assert "does not answer" in run("queues")


def test_rings_are_counted_by_queue(settings):
    settings.CELERY_BROKER_URL = settings.REDIS_URL.replace("unix://", "redis+socket://").replace(
        "?db=", "?virtual_host="
    )
    assert operating.rings_waiting() == {"celery": 0, "imports": 0, "pages": 0, "segments": 0}


# --- sends and drain ------------------------------------------------------------------------------


def test_sends_is_turned_off_and_on_from_the_command_line(campaign):
    assert run("sends", "status").split() == ["email", "on", "sms", "on"]

    assert "off: the wrong price" in run("sends", "off", "--why", "the wrong price")
    assert outbox.claim(uuid4(), "email", 5) == []
    assert switch.why_off(["email"]).by == operating.operator()

    run("sends", "on")
    assert len(outbox.claim(uuid4(), "email", 5)) == 5


def test_sends_says_that_a_restored_copy_is_one():
    switch.turn_sends(True, by="ada")
    switch.Switch.objects.update(place="elsewhere")
    assert "off: this database is a copy" in run("sends", "status")
    assert "copy of another" in run("sends", "status")


def test_draining_waits_until_no_worker_holds_a_message(campaign):
    owner = uuid4()
    claimed = [one.id for one in outbox.claim(owner, "email", 5)]

    def finish() -> None:
        while switch.why_off(["email"]) is None:
            pass
        outbox.release(owner, claimed)
        connection.close()

    worker = Thread(target=finish)
    worker.start()
    assert "Nothing is on its way" in run("drain", "--timeout", "60")
    worker.join()
    assert outbox.claim(uuid4(), "sms", 5) == []


def test_draining_one_channel_leaves_the_others_going(campaign):
    run("drain", "--channel", "sms", "--timeout", "1")
    assert outbox.claim(uuid4(), "sms", 5) == []
    assert len(outbox.claim(uuid4(), "email", 5)) == 5


def test_draining_says_when_somebody_will_not_let_go(campaign):
    outbox.claim(uuid4(), "email", 5)
    with pytest.raises(CommandError, match="still hold 5 messages"):
        run("drain", "--timeout", "0")


# --- park, replay, breaker ------------------------------------------------------------------------


def test_parking_and_replaying_tell_first_and_do_on_yes(campaign):
    number = str(campaign.pk)
    assert "--yes sets 20 messages aside" in run("park", "--campaign", number)
    assert campaign.messages.filter(status="planned").count() == 20

    assert "Set 10 messages aside" in run("park", "--channel", "sms", "--yes", "--why", "no credit")
    assert campaign.messages.filter(reason="parked").count() == 10
    assert "Nothing waits there" in run("park", "--channel", "sms", "--yes")

    select = ["replay", "--status", "failed", "--reason", "parked"]
    assert "--yes lets 10 messages" in run(*select)
    assert "10 messages wait for sending" in run(*select, "--yes")
    assert "There are none" in run(*select, "--yes")
    assert [(line.kind, line.messages) for line in Repair.objects.order_by("pk")] == [
        ("park", 10),
        ("replay", 10),
    ]


def test_parking_everything_by_mistake_takes_more_than_one_word():
    with pytest.raises(CommandError, match="Say which"):
        run("park", "--yes")


def test_replaying_unknown_messages_says_what_it_risks(campaign):
    campaign.messages.filter(channel="sms").update(status="unknown", reason="no_answer", settled_at=now())
    assert "gets it twice" in run("replay", "--status", "unknown")


def test_what_does_not_exist_is_told_plainly():
    with pytest.raises(CommandError, match="no campaign 424242"):
        run("park", "--campaign", "424242")
    with pytest.raises(CommandError, match="No provider called pigeon"):
        run("breaker", "reset", "pigeon")


def test_a_breaker_is_reset_from_the_command_line():
    breaker.note_failures("smtp", 20, "451 busy")
    run("breaker", "reset", "smtp", "--why", "they have mended it")
    assert breaker.allowance("smtp", 5).messages == 5
    assert Repair.objects.get().reason == "they have mended it"
