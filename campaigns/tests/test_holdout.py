from datetime import timedelta

import pytest
from django.utils.timezone import now

from campaigns import planning, services
from campaigns.models import Occurrence
from campaigns.tests.factories import launch, make_campaign
from campaigns.tests.test_dispatch import dispatch_everything
from core.tests.factories import make_user
from customers.models import Identifier
from customers.services import record_consent, suppress_address
from customers.tests.factories import make_customer

pytestmark = pytest.mark.django_db(transaction=True)


def crowd(people=400, channels=("email", "sms")):
    return [
        make_customer(email=f"p{n}@x.example", phone=f"+39333{n:07}", consents=channels)
        for n in range(people)
    ]


def held_out_of(campaign):
    return set(campaign.messages.filter(reason="holdout").values_list("customer", flat=True))


def test_the_share_that_was_asked_for_is_left_out_of_every_channel_and_accounted_for():
    crowd()
    campaign = make_campaign(channels=("email", "sms"), holdout_percent=20)

    foreseen = planning.forecast(campaign)
    campaign = launch(campaign)

    held_out = held_out_of(campaign)
    assert 50 < len(held_out) < 115  # 80 of 400, five standard deviations.
    assert foreseen.held_out == len(held_out)
    assert foreseen.people == 400 - len(held_out) == foreseen.sendable["email"] == foreseen.sendable["sms"]
    assert foreseen.held_back == {channel: {"holdout": len(held_out)} for channel in ("email", "sms")}
    assert campaign.messages.filter(customer__in=held_out, reason="holdout").count() == 2 * len(held_out)
    assert campaign.messages.count() == 800


def test_nobody_held_out_is_written_to(sink):
    crowd(60, channels=("email",))
    campaign = launch(make_campaign(holdout_percent=30))

    dispatch_everything()

    held_out = held_out_of(campaign)
    assert held_out
    assert not campaign.messages.filter(customer__in=held_out, sending_at__isnull=False).exists()
    assert len(sink.mails) == 60 - len(held_out)


def test_only_who_would_have_got_it_is_held_out():
    people = crowd(60, channels=("email",))
    for customer in people[:15]:
        record_consent(customer.pk, channel="email", state="revoked", source="page", evidence="test")
    for customer in people[15:30]:
        suppress_address(
            channel="email", address=customer.identifiers.get(kind="email").value, reason="bounced"
        )
    Identifier.objects.filter(customer__in=people[30:45], kind="email").delete()
    campaign = launch(make_campaign(holdout_percent=50))

    assert held_out_of(campaign)
    assert held_out_of(campaign) <= {customer.pk for customer in people[45:]}


def test_the_lot_is_the_same_however_often_it_is_drawn_and_another_for_each_campaign():
    crowd(200, channels=("email",))
    campaign = make_campaign(holdout_percent=20)
    first = planning.forecast(campaign).held_out
    campaign = launch(campaign)
    assert first == len(held_out_of(campaign))

    campaign.messages.all().delete()
    planning.plan_messages(campaign, campaign.occurrences.get())
    again = held_out_of(campaign)
    assert len(again) == first

    other = launch(make_campaign(holdout_percent=20))
    both = again & held_out_of(other)
    assert 0 < len(both) < len(again)  # 8 of 200 would be chance.


def test_a_series_leaves_the_same_people_out_each_time():
    crowd(100, channels=("email",))
    campaign = launch(make_campaign(holdout_percent=20))
    first = held_out_of(campaign)
    second = Occurrence.objects.create(
        campaign=campaign,
        number=1,
        local_date=now().date() + timedelta(days=1),
        local_time=now().time(),
        launch_at=now(),
    )

    planning.plan_messages(campaign, second)

    assert (
        set(campaign.messages.filter(occurrence=1, reason="holdout").values_list("customer", flat=True))
        == first
    )
    assert campaign.messages.filter(occurrence=1).count() == 100


def test_more_percent_leave_out_more_people_and_the_same_again():
    crowd(200, channels=("email",))
    campaign = launch(make_campaign(holdout_percent=10))
    few = held_out_of(campaign)
    campaign.messages.all().delete()
    campaign.holdout_percent = 30

    planning.plan_messages(campaign, campaign.occurrences.get())

    assert few < held_out_of(campaign)


def test_who_is_held_out_stays_so_while_a_series_runs():
    campaign = launch(make_campaign(holdout_percent=10))
    campaign.status = "scheduled"
    campaign.save()
    with pytest.raises(services.NotEditable):
        services.update_campaign(campaign.pk, by=make_user(), holdout_percent=0)
    services.update_campaign(campaign.pk, by=make_user(), holdout_percent=10, goal_days=3)


# --- one address, one message ------------------------------------------------------------------------


def move_address(giver, taker):
    Identifier.objects.filter(customer=taker, kind="email").delete()
    Identifier.objects.filter(customer=giver, kind="email").update(customer=taker)


def test_an_address_that_changed_hands_before_the_fence_gets_one_message(sink):
    """Goes red without SAME_ADDRESS: the address would stand in two messages, and the window break."""
    bob = make_customer(email="bob@x.example", consents=("email",))
    ada = make_customer(email="ada@x.example", consents=("email",))
    campaign = launch(make_campaign())
    move_address(ada, bob)  # Bob has Ada's address now, and she has none.

    dispatch_everything()

    outcomes = dict(campaign.messages.values_list("customer", "reason"))
    assert outcomes == {bob.pk: "same_address", ada.pk: "no_address"}
    assert sink.mails == []


def test_an_address_that_changed_hands_before_planning_again_is_accounted_for():
    ada = make_customer(email="ada@x.example", consents=("email",))
    campaign = launch(make_campaign())
    bob = make_customer(email="bob@x.example", consents=("email",))
    move_address(ada, bob)

    assert planning.plan_messages(campaign, campaign.occurrences.get()) == 0

    outcomes = set(campaign.messages.values_list("customer", "status", "reason"))
    assert outcomes == {(ada.pk, "planned", ""), (bob.pk, "suppressed", "same_address")}
