from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from django.db import connection

from campaigns import breaker, dispatch, pace
from campaigns.channels.email import SmtpProvider
from campaigns.models import Breaker, Message, Pace
from campaigns.tests.factories import launch, make_campaign
from customers.tests.factories import make_customer

pytestmark = pytest.mark.django_db(transaction=True)


def make_crowd(*domains: str) -> None:
    for number, domain in enumerate(domains):
        make_customer(email=f"p{number}@{domain}", consents=("email",))


def test_a_bucket_gives_a_seconds_worth_and_then_what_flows_in():
    assert pace.take({"a": 100}, {"a": 30.0}) == {"a": 30}
    assert pace.take({"a": 100}, {"a": 30.0})["a"] < 30
    Pace.objects.update(filled_at="2020-01-01T00:00Z")
    assert pace.take({"a": 100}, {"a": 30.0}) == {"a": 30}


def test_a_slow_bucket_still_gives_one():
    assert pace.take({"a": 5}, {"a": 0.01}) == {"a": 1}
    assert pace.take({"a": 5}, {"a": 0.01}) == {"a": 0}


def test_workers_share_one_bucket():
    pace.take({"a": 0}, {"a": 50.0})
    Pace.objects.update(filled_at="2100-01-01T00:00Z", tokens=50)  # Nothing flows in during the test.

    def take(_: int) -> int:
        try:
            return pace.take({"a": 10, "b": 1}, {"a": 0.0, "b": 1e9})["a"]
        finally:
            connection.close()

    Pace.objects.filter(key="a").update(tokens=40)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(16))) <= 40


def test_a_receiving_domain_gets_no_more_than_its_rate_and_others_do_not_wait(sink, settings):
    settings.DOMAIN_RATES = {"slow.example": 2.0}
    make_crowd(*["slow.example"] * 6, *["quick.example"] * 6)
    campaign = launch(make_campaign())

    dispatch.dispatch_batch(owner=uuid4())

    domains = [address.partition("@")[2] for address in sink.addresses]
    assert domains.count("quick.example") == 6
    assert domains.count("slow.example") == 2
    waiting = campaign.messages.filter(status="planned").order_by("due_at")
    assert waiting.count() == 4
    first, last = waiting[0].due_at, waiting[3].due_at
    assert 1.4 < (last - first).total_seconds() < 1.6  # One every half second.


def test_a_throttled_campaign_keeps_to_its_hour(sink):
    make_crowd(*["x.example"] * 5)
    campaign = launch(make_campaign(throttle_per_hour=60))
    dispatch.dispatch_batch(owner=uuid4())
    dispatch.dispatch_batch(owner=uuid4())
    assert len(sink.mails) == 1
    assert campaign.messages.filter(status="planned").count() == 4


def test_a_provider_that_fails_in_a_row_rests_and_one_message_tries_it(sink, settings):
    make_crowd(*["x.example"] * 30)
    campaign = launch(make_campaign())
    settings.EMAIL_PORT, there = 1, settings.EMAIL_PORT
    dispatch.dispatch_batch(owner=uuid4())
    state = Breaker.objects.get()
    assert (state.provider, state.trips) == ("smtp", 1)
    assert 5 <= state.failures <= 20
    assert dispatch.dispatch_batch(owner=uuid4()) == 0

    settings.EMAIL_PORT = there
    Breaker.objects.update(open_until="2020-01-01T00:00Z")
    Message.objects.update(due_at="2020-01-01T00:00Z")
    assert dispatch.dispatch_batch(owner=uuid4()) == 1
    assert len(sink.mails) == 1
    assert Breaker.objects.get().open_until is None
    while dispatch.dispatch_batch(owner=uuid4()):
        pass
    assert len(sink.mails) == 30
    assert not campaign.messages.exclude(status="sent").exists()


def test_a_provider_that_answers_nothing_in_a_row_rests_although_its_messages_park(
    sink, settings, monkeypatch
):
    settings.PARK_WHEN_IN_DOUBT = ["email"]
    monkeypatch.setattr(SmtpProvider, "reports", True)  # So that a window holds more than one.
    monkeypatch.setattr(SmtpProvider, "send", lambda provider, batch, deadline: [])
    make_crowd(*["x.example"] * 20)
    campaign = launch(make_campaign())

    assert dispatch.dispatch_batch(owner=uuid4()) == 20
    assert dispatch.dispatch_batch(owner=uuid4()) == 0

    assert (Breaker.objects.get().detail, Breaker.objects.get().failures) == ("no answer", dispatch.WINDOW)
    assert campaign.messages.filter(status="sending").count() == dispatch.WINDOW
    assert campaign.messages.filter(status="planned").count() == 20 - dispatch.WINDOW


def test_a_failed_trial_makes_the_next_rest_longer():
    breaker.note_failures("smtp", 5, "down")
    Breaker.objects.update(open_until="2020-01-01T00:00Z")
    assert breaker.allowance("smtp", 500).messages == 1
    assert breaker.allowance("smtp", 500).messages == 0  # Somebody is trying already.
    breaker.note_failures("smtp", 1, "still down")
    state = Breaker.objects.get()
    assert (state.trips, state.is_probing) == (2, False)


def test_a_worker_told_to_stop_gives_back_what_it_holds(sink):
    make_crowd(*["x.example"] * 40)
    campaign = launch(make_campaign())
    asked = iter([False, False, False, True, True, True, True])
    dispatch.dispatch_batch(owner=uuid4(), should_stop=lambda: next(asked))
    assert len(sink.mails) == 2 * dispatch.WINDOW
    assert set(campaign.messages.values_list("status", flat=True)) == {"sent", "planned"}
