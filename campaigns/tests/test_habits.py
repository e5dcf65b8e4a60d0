from datetime import UTC, datetime, time, timedelta
from itertools import count

import pytest
from django.utils.timezone import now

from campaigns import habits, services
from campaigns.models import Habit
from campaigns.tests.factories import make_brand, make_campaign, read_log
from core.tests.factories import make_user
from customers import events
from customers.models import Event
from customers.tests.factories import make_customer
from inventory.models import Store

pytestmark = pytest.mark.django_db(transaction=True)
_keys = count(1)
QUIET = {"quiet_from": "21:00", "quiet_until": "08:00"}


def did(customer, name: str, hour: int, *, times: int = 1, days_ago: int = 1, minute: int = 30) -> None:
    """Acts at this hour in UTC, some days ago and each day before that."""
    for n in range(times):
        day = (now() - timedelta(days=days_ago + n)).date()
        Event.objects.create(
            customer=customer,
            name=name,
            source="test",
            key=f"act {next(_keys)}",
            occurred_at=datetime.combine(day, time(hour, minute), tzinfo=UTC),
        )


def follow() -> None:
    read_log(habits.follow_habits, Event.objects.filter(name__in=habits.WEIGHTS).count())


def hours_of(*, respect_quiet_hours: bool = True) -> dict[str, int]:
    """By the name before the @, the hour of UTC at which a best-hour campaign would write to each."""
    brand = make_brand(timezone="UTC", **QUIET)
    campaign = make_campaign(
        brand=brand,
        clock="best",
        wall_date=(now() + timedelta(days=3)).date(),
        respect_quiet_hours=respect_quiet_hours,
    )
    services.schedule_campaign(campaign.pk, send_at=None, by=make_user())
    services.launch_due(at=campaign.occurrences.get().launch_at)
    rows = campaign.messages.values_list("address", "due_at")
    return {address.split("@")[0]: at.astimezone(UTC).hour for address, at in rows}


def person(name: str, **fields):
    return make_customer(email=f"{name}@x.example", consents=("email",), **({"timezone": "UTC"} | fields))


def test_acts_count_for_the_hour_of_the_persons_own_clock():
    tokyo = Store.objects.create(code="t", name="Tokyo", timezone="Asia/Tokyo")
    people = [person("a"), person("b", timezone="Asia/Kolkata"), person("c", timezone="", home_store=tokyo)]
    for each in people:
        did(each, events.ORDER_COMPLETED, 10)
    follow()
    assert [Habit.objects.get(customer=each).hour for each in people] == [10, 16, 19]


def test_each_act_counts_once_by_its_weight_and_fades():
    ada = person("ada")
    did(ada, events.MESSAGE_CLICKED, 9)
    did(ada, events.ORDER_COMPLETED, 9, days_ago=1)
    did(ada, events.ORDER_COMPLETED, 18, days_ago=91)
    did(ada, events.PRODUCT_VIEWED, 12)
    follow()
    habits.follow_habits()
    recent, old = Habit.objects.get(hour=9).weight, Habit.objects.get(hour=18).weight
    assert Habit.objects.count() == 2
    assert recent / old == pytest.approx(3 / 1, rel=0.01)


def test_a_purchase_of_a_day_without_an_hour_says_nothing():
    did(person("ada"), events.ORDER_COMPLETED, 0, minute=0)
    follow()
    assert not Habit.objects.exists()


def test_the_best_hour_is_a_persons_own_when_they_have_shown_it_often():
    did(person("evening"), events.ORDER_COMPLETED, 19, times=6)
    did(person("morning"), events.MESSAGE_CLICKED, 8, times=10)
    for n in range(5):
        did(person(f"noon{n}"), events.ORDER_COMPLETED, 12, times=3)
    person("new")
    follow()
    found = hours_of()
    assert (found["evening"], found["morning"], found["noon0"], found["new"]) == (19, 8, 12, 12)


def test_a_single_act_does_not_outweigh_what_everybody_does():
    did(person("once"), events.MESSAGE_OPENED, 17)
    for n in range(40):
        did(person(f"p{n}"), events.ORDER_COMPLETED, 12, times=2)
    follow()
    assert hours_of()["once"] == 12


def test_nobody_is_written_to_in_quiet_hours_however_much_they_do_then():
    did(person("owl"), events.ORDER_COMPLETED, 23, times=9)
    follow()
    assert hours_of()["owl"] == habits.DEFAULT_HOUR
    assert hours_of(respect_quiet_hours=False)["owl"] == 23


def test_an_audience_of_which_nothing_is_known_gets_it_at_the_default_hour():
    person("new")
    assert hours_of() == {"new": habits.DEFAULT_HOUR}


def test_the_hours_allowed_are_those_that_begin_outside_quiet_hours():
    brand = make_brand(**QUIET)
    brand.refresh_from_db()
    assert habits.hours_allowed(brand, respect_quiet_hours=True) == list(range(8, 21))
    assert habits.hours_allowed(brand, respect_quiet_hours=False) == list(range(24))
