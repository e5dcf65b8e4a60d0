from datetime import UTC, date, datetime, time, timedelta
from uuid import uuid4

import pytest
from django.utils.timezone import localdate, now

from campaigns import days, dispatch, pressure, services
from campaigns.models import CampaignDay, DayPressure
from campaigns.tests.factories import launch, make_campaign, read_log
from campaigns.tests.test_schedules import on, person, series
from core.tests.factories import make_user
from customers.events import MESSAGE_SENT
from customers.models import Event
from customers.tests.factories import make_event

pytestmark = pytest.mark.django_db(transaction=True)


def next_monday() -> date:
    return localdate() + timedelta(days=7 - localdate().weekday())


def follow() -> None:
    read_log(days.follow_sent, Event.objects.filter(name=MESSAGE_SENT, source="campaigns").count())


def test_what_was_sent_counts_once_for_the_day_it_left(sink):
    for n in range(5):
        person(f"p{n}")
    person("gone.away")
    campaign = launch(make_campaign())
    dispatch.dispatch_batch(owner=uuid4())
    follow()
    days.follow_sent()
    [row] = CampaignDay.objects.all()
    assert (row.campaign, row.day, row.channel) == (campaign, localdate(), "email")
    assert (row.planned, row.sent) == (6, 5)


def test_a_day_is_the_houses_even_around_midnight():
    ada = person("ada")
    campaign = launch(make_campaign())
    late = datetime.combine(localdate(), time(23, 30), tzinfo=UTC)  # Past midnight in Rome.
    Event.objects.create(
        customer=ada,
        name=MESSAGE_SENT,
        source="campaigns",
        key="m:sent",
        occurred_at=late,
        properties={"message": campaign.messages.get().pk},
    )
    follow()
    assert CampaignDay.objects.get(sent=1).day == localdate() + timedelta(days=1)


def kept(day: date) -> tuple[int, int, int]:
    row = DayPressure.objects.get(day=day)
    return row.messages, row.people, row.over_cap


def test_pressure_adds_up_what_was_sent_what_waits_and_what_is_coming():
    ada, _bea = person("ada"), person("bea")
    make_event(ada, MESSAGE_SENT)
    waiting = launch(make_campaign())
    pressure.measure_pressure()
    assert kept(localdate()) == (3, 2, 0)
    assert DayPressure.objects.get(day=localdate()).reachable == 2

    waiting.messages.update(status="sent")
    monday = next_monday()
    series(begins=monday, repeat_until=monday + timedelta(days=20))
    pressure.measure_pressure()
    assert kept(localdate()) == (1, 1, 0)
    assert [kept(monday + timedelta(days=n)) for n in range(5)] == [
        (2, 2, 0),
        (2, 2, 0),
        (2, 2, 0),
        (2, 2, 2),  # The fourth of the week.
        (2, 2, 0),
    ]
    assert kept(monday + timedelta(days=10)) == (2, 2, 2)  # A new week begins a new count.


def test_people_of_several_campaigns_are_counted_once_a_day():
    for n in range(3):
        person(f"p{n}")
    tuesday = next_monday() + timedelta(days=1)
    for _ in range(4):
        on("local", tuesday)
    make_campaign()  # A draft asks nothing of anybody.
    pressure.measure_pressure()
    assert kept(tuesday) == (12, 3, 3)


def test_measuring_again_replaces_what_was_foreseen():
    person("ada")
    tuesday = next_monday() + timedelta(days=1)
    campaign = on("local", tuesday)
    pressure.measure_pressure()
    assert kept(tuesday) == (1, 1, 0)
    services.unschedule_campaign(campaign.pk, by=make_user())
    pressure.measure_pressure()
    assert kept(tuesday) == (0, 0, 0)
    assert DayPressure.objects.get(day=tuesday).measured_at <= now()
