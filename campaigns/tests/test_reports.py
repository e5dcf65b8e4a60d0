from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils.timezone import now

from campaigns import collecting, conversions, dispatch, reports
from campaigns.models import Breaker, Conversion, Message, SandboxText
from campaigns.tests.factories import launch, make_campaign, read_the_whole_log
from customers.models import Event, Suppression
from customers.tests.factories import make_customer, make_event

pytestmark = pytest.mark.django_db(transaction=True)


def text_to(number: str) -> Message:
    make_customer(phone=number, consents=("sms",))
    campaign = launch(make_campaign(channels=("sms",)))
    while dispatch.dispatch_batch(owner=uuid4()):
        pass
    SandboxText.objects.update(report_at=now())
    return campaign.messages.get()


def collect() -> int:
    taken = collecting.collect_sandbox_reports()
    while reports.process():
        pass
    return taken


def test_a_text_is_delivered_when_its_report_arrives():
    message = text_to("+393331234567")
    assert message.status == "sent"
    assert collect() == 1
    message.refresh_from_db()
    assert (message.status, message.parts) == ("delivered", 1)
    assert Event.objects.filter(name="Message Delivered").count() == 1
    assert collect() == 0


def test_a_bounced_number_is_suppressed():
    message = text_to("+393331230001")
    collect()
    message.refresh_from_db()
    assert (message.status, message.reason) == ("bounced", "bad_address")
    assert Suppression.objects.get().channel == "sms"


def test_an_answer_that_got_lost_parks_the_text_until_its_report_comes():
    message = text_to("+393331230003")
    assert message.status == "sending"
    Message.objects.update(lease_until=now() - timedelta(seconds=1))
    dispatch.recover_leases()
    message.refresh_from_db()
    assert (message.status, message.reason) == ("unknown", "no_answer")
    assert SandboxText.objects.count() == 1

    collect()
    message.refresh_from_db()
    assert (message.status, message.reason) == ("delivered", "")
    assert message.provider_ref == str(SandboxText.objects.get().ref)


def test_a_provider_in_trouble_is_asked_again_later_and_then_given_up():
    message = text_to("+393331230000")
    assert (message.status, message.reason, message.attempts) == ("planned", "provider_error", 1)
    assert message.due_at > now()
    for _ in range(dispatch.MAX_ATTEMPTS):
        Breaker.objects.all().delete()  # It has rested.
        Message.objects.update(due_at=now())
        dispatch.dispatch_batch(owner=uuid4())
    message.refresh_from_db()
    assert (message.status, message.attempts) == ("failed", dispatch.MAX_ATTEMPTS)
    assert "503" in message.detail


def test_an_order_is_credited_to_the_last_message_before_it():
    customer = make_customer(phone="+393331234567", consents=("sms",))
    older, newer = launch(make_campaign(channels=("sms",))), launch(make_campaign(channels=("sms",)))
    while dispatch.dispatch_batch(owner=uuid4()):
        pass
    Message.objects.filter(campaign=older).update(sent_at=now() - timedelta(days=2))
    Message.objects.filter(campaign=newer).update(sent_at=now() - timedelta(days=1))
    order = {"properties": {"total_minor": 4990, "currency": "EUR"}}
    make_event(customer, "Order Completed", at=now(), **order)
    make_event(customer, "Order Completed", at=now() - timedelta(days=1, hours=1), **order)
    make_event(customer, "Order Completed", at=now() - timedelta(days=3), **order)
    make_event(customer, "Order Completed", at=now() + timedelta(days=8), **order)

    read_the_whole_log(4)

    credited = Conversion.objects.order_by("occurred_at").values_list("campaign", "revenue_minor")
    assert list(credited) == [(older.pk, 4990), (newer.pk, 4990)]
    Conversion.objects.all().delete()
    assert conversions.follow_orders() == 0
