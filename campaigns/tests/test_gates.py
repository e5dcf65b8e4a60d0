from datetime import datetime, timedelta
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.utils.timezone import now

from campaigns import dispatch, outbox, planning, services
from campaigns.models import Campaign, Message
from campaigns.tests.factories import launch, make_brand, make_campaign, make_segment
from core.tests.factories import make_user
from customers.services import suppress_address
from customers.tests.factories import make_customer

pytestmark = pytest.mark.django_db(transaction=True)


def released(moment: str, zone: str, quiet_from: str, quiet_until: str) -> datetime:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT outside_quiet_hours(%s::timestamptz, %s, %s::time, %s::time)",
            [datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo(zone)), zone, quiet_from, quiet_until],
        )
        return cursor.fetchone()[0].astimezone(ZoneInfo(zone))


@pytest.mark.parametrize(
    ("moment", "quiet", "expected"),
    [
        ("2026-11-21T12:00", ("21:00", "08:00"), "2026-11-21T12:00"),
        ("2026-11-21T21:00", ("21:00", "08:00"), "2026-11-22T08:00"),
        ("2026-11-21T20:59", ("21:00", "08:00"), "2026-11-21T20:59"),
        ("2026-11-21T03:00", ("21:00", "08:00"), "2026-11-21T08:00"),
        ("2026-11-21T08:00", ("21:00", "08:00"), "2026-11-21T08:00"),
        ("2026-11-21T13:30", ("13:00", "15:00"), "2026-11-21T15:00"),
        ("2026-11-21T15:30", ("13:00", "15:00"), "2026-11-21T15:30"),
        ("2026-11-21T03:00", ("00:00", "00:00"), "2026-11-21T03:00"),
        ("2026-03-28T23:00", ("21:00", "08:00"), "2026-03-29T08:00"),  # The night clocks go forward,
        ("2026-10-24T23:00", ("21:00", "08:00"), "2026-10-25T08:00"),  # and back.
    ],
)
def test_quiet_hours_hold_a_message_until_they_end_where_the_person_lives(moment, quiet, expected):
    assert released(moment, "Europe/Rome", *quiet).strftime("%Y-%m-%dT%H:%M") == expected


def quiet_now(zone: str = "Europe/Rome") -> dict[str, object]:
    """Quiet hours from an hour ago to two hours from now, in that zone."""
    local = now().astimezone(ZoneInfo(zone))
    return {
        "quiet_from": (local - timedelta(hours=1)).time(),
        "quiet_until": (local + timedelta(hours=2)).time(),
        "timezone": zone,
    }


def test_nothing_is_sent_inside_quiet_hours_even_if_they_began_after_planning(sink):
    make_customer(email="ada@x.example", consents=("email",))
    brand = make_brand()
    campaign = launch(make_campaign(brand=brand))
    for name, value in quiet_now().items():
        setattr(brand, name, value)
    brand.save()

    while dispatch.dispatch_batch(owner=uuid4()):
        pass

    message = campaign.messages.get()
    assert sink.mails == []
    assert (message.status, message.reason) == ("planned", "quiet_hours")
    assert timedelta(minutes=110) < message.due_at - now() < timedelta(minutes=121)
    services.finish_campaigns()
    campaign.refresh_from_db()
    assert campaign.status == "sending"


def test_quiet_hours_are_those_of_the_persons_own_time_zone(sink):
    far = "Pacific/Auckland"
    make_customer(email="near@x.example", consents=("email",), timezone="Europe/Rome")
    make_customer(email="far@x.example", consents=("email",), timezone=far)
    campaign = launch(make_campaign(brand=make_brand(**quiet_now("Europe/Rome"))))

    while dispatch.dispatch_batch(owner=uuid4()):
        pass

    assert sink.addresses == ["far@x.example"]
    assert campaign.messages.get(address="near@x.example").due_at > now()


def test_a_campaign_that_may_not_go_before_it_expires_says_so(sink):
    make_customer(email="ada@x.example", consents=("email",))
    campaign = launch(
        make_campaign(brand=make_brand(**quiet_now())), expires_at=now() + timedelta(minutes=30)
    )
    message = campaign.messages.get()
    assert (message.status, message.reason) == ("suppressed", "expired")


def test_what_expired_while_it_waited_is_held_back(sink):
    make_customer(email="ada@x.example", consents=("email",))
    campaign = launch(make_campaign(), expires_at=now() + timedelta(hours=1))
    Campaign.objects.update(expires_at=now() - timedelta(seconds=1), send_at=now() - timedelta(hours=2))

    dispatch.dispatch_batch(owner=uuid4())

    message = campaign.messages.get()
    assert (message.status, message.reason) == ("suppressed", "expired")
    assert sink.mails == []


def test_the_number_on_the_button_is_the_number_planned():
    make_customer(email="ada@x.example", phone="+393331234567", consents=("email", "sms"))
    make_customer(email="bob@x.example", consents=("email",))
    make_customer(phone="+393331234568")
    blocked = make_customer(email="blocked@x.example", consents=("email",))
    suppress_address(channel="email", address="blocked@x.example", reason="complained")
    rome = make_segment(definition={"type": "attribute", "name": "city", "op": "is", "value": "Roma"})
    make_customer(email="out@x.example", consents=("email",), city="Roma")
    campaign = make_campaign(channels=("email", "sms"), exclude=(rome,))

    foreseen = planning.forecast(campaign)
    campaign = launch(campaign)

    planned = campaign.messages.filter(status="planned")
    assert foreseen.people == planned.values("customer").distinct().count() == 2
    assert foreseen.sendable == {"email": 2, "sms": 1}
    assert foreseen.held_back == {"email": {"no_consent": 1, "suppressed": 1}, "sms": {"no_consent": 3}}
    assert campaign.messages.get(customer=blocked, channel="email").reason == "suppressed"
    assert campaign.messages.count() == 8


def test_planning_again_adds_nothing():
    make_customer(email="ada@x.example", consents=("email",))
    campaign = launch(make_campaign())
    assert planning.plan_messages(campaign, campaign.occurrences.get()) == 0
    assert campaign.messages.count() == 1


def test_people_read_the_language_they_chose_else_the_brands():
    by = make_user()
    italian = make_customer(email="it@x.example", consents=("email",), language="it")
    german = make_customer(email="de@x.example", consents=("email",), language="de")
    campaign = make_campaign()
    services.save_content(
        campaign.pk,
        channel="email",
        language="it",
        by=by,
        sender=campaign.brand.senders.get(channel="email"),
        subject="Ciao",
        body="Ciao",
    )
    assert planning.forecast(campaign).sendable == {"email": 2}
    campaign = launch(campaign)
    languages = dict(campaign.messages.values_list("customer", "content__language"))
    assert languages == {italian.pk: "it", german.pk: "en"}


def test_a_stale_owner_cannot_write_a_status(sink):
    make_customer(email="ada@x.example", consents=("email",))
    launch(make_campaign())
    sleeper, other = uuid4(), uuid4()
    [message_id] = [one.id for one in outbox.claim(sleeper, "email", 10)]
    assert [one.id for one in outbox.fence(sleeper, [message_id])] == [message_id]
    Message.objects.update(lease_until=now() - timedelta(seconds=1))
    assert outbox.recover_leases() == 1
    outbox.claim(other, "email", 10)
    assert outbox.fence(sleeper, [message_id]) == []

    outbox.mark(sleeper, [dispatch.Outcome(message_id, "failed")])

    assert Message.objects.get().status == "leased"
    assert [one.id for one in outbox.fence(other, [message_id])] == [message_id]
