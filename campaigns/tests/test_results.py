from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils.timezone import now

from campaigns import planning, results, services
from campaigns.models import Campaign, Click, Link, Message, Tally
from campaigns.tests.factories import launch, make_brand, make_campaign, read_the_whole_log
from core.errors import DomainError
from core.tests.factories import make_user
from customers import events
from customers.tests.factories import make_customer, make_event

pytestmark = pytest.mark.django_db


def make_people(number, **fields):
    return [
        make_customer(email=f"p{uuid4().hex}@x.example", consents=("email",), **fields) for _ in range(number)
    ]


def become(campaign, *statuses, channel="email"):
    """Give the campaign's planned messages these states, in order."""
    planned = campaign.messages.filter(channel=channel, status="planned").order_by("pk")
    for message, status in zip(planned, statuses, strict=True):
        message.status = status
        message.reason = "refused" if status in ("failed", "bounced") else ""
        message.owner = uuid4() if status in ("leased", "sending") else None
        message.lease_until = now() if status in ("leased", "sending") else None
        message.sent_at = now() if status in ("sent", "delivered") else None
        message.save()


def test_the_parts_always_add_up_to_the_audience():
    make_people(8)
    make_customer(email="no@x.example")
    campaign = launch(make_campaign(channels=("email", "sms")))
    become(campaign, "sent", "delivered", "bounced", "failed", "unknown", "leased", "sending", "planned")

    found = results.count_results(campaign)

    assert found.groups == {
        "sent": 1,
        "delivered": 1,
        "bounced": 1,
        "failed": 1,
        "unknown": 1,
        "waiting": 3,
        "held": 10,
    }
    assert sum(part.count for part in found.equation) == found.audience == campaign.messages.count() == 18
    assert found.people == 9
    for channel in found.channels:
        assert sum(channel.groups.values()) == campaign.messages.filter(channel=channel.channel).count()
        assert sum(row.count for row in channel.held) == channel.groups["held"]


def test_every_figure_leads_to_as_many_messages_as_it_counts():
    make_people(4)
    make_customer(email="no@x.example")
    campaign = launch(make_campaign(channels=("email", "sms")))
    become(campaign, "sent", "delivered", "bounced", "planned")

    found = results.count_results(campaign)

    assert results.behind(campaign).count() == found.audience
    for part in found.equation:
        assert results.behind(campaign, group=part.key).count() == part.count
    for channel in found.channels:
        for row in channel.held:
            behind = results.behind(campaign, group="held", channel=channel.channel, reason=row.key)
            assert behind.count() == row.count


def test_every_state_a_message_can_have_belongs_to_one_part():
    listed = [status for statuses in results.GROUPS.values() for status in statuses]
    assert sorted(listed) == sorted(Message.Status.values)


def test_people_who_clicked_are_counted_once_and_machines_never():
    make_people(2)
    campaign = launch(make_campaign())
    become(campaign, "sent", "sent")
    first, second = campaign.messages.order_by("pk")
    link = Link.objects.get(campaign=campaign)
    for message, is_machine in ((first, False), (first, False), (first, True), (second, True)):
        Click.objects.create(message=message, link=link, is_machine=is_machine)

    found = results.count_results(campaign)

    assert (found.clickers, found.clicks, found.machine_clicks) == (1, 2, 2)
    assert found.click_rate == 0.5
    assert [(row.clickers, row.clicks, row.machine_clicks) for row in found.links] == [(1, 2, 2)]
    assert list(results.behind(campaign, group="clicked")) == [first]


@pytest.mark.django_db(transaction=True)
def test_orders_in_the_goal_window_are_credited_by_currency():
    ada, bob, eve = make_people(3)
    campaign = launch(make_campaign(goal="revenue", goal_target=100, goal_days=7))
    become(campaign, "sent", "sent", "sent")

    def order(customer, minor, currency, *, at):
        properties = {"total_minor": minor, "currency": currency}
        make_event(customer, events.ORDER_COMPLETED, at=at, properties=properties)

    order(ada, 5000, "EUR", at=now() + timedelta(days=1))
    order(ada, 2500, "EUR", at=now() + timedelta(days=2))
    order(bob, 900, "USD", at=now() + timedelta(days=1))
    order(eve, 7700, "EUR", at=now() + timedelta(days=8))
    order(eve, 7700, "EUR", at=now() - timedelta(days=1))
    read_the_whole_log(5)

    found = results.count_results(campaign)

    assert found.orders == 3
    assert found.revenue == {"EUR": 7500, "USD": 900}
    assert (found.main_currency, found.goal_reached, found.goal_share) == ("EUR", 75, 0.75)
    assert "9.00" in found.other_revenue
    assert results.behind(campaign, group="ordered").count() == 2


def test_who_left_through_a_message_is_counted_for_its_campaign_only():
    make_people(2)
    campaign, other = launch(make_campaign()), launch(make_campaign())
    services.unsubscribe(campaign.messages.order_by("pk")[0].pk, source="test")

    assert results.count_results(campaign).unsubscribed == 1
    assert results.count_results(other).unsubscribed == 0
    assert results.behind(campaign, group="unsubscribed").count() == 1


def test_the_list_shows_the_same_figures_as_the_page():
    make_people(3)
    campaign = launch(make_campaign())
    become(campaign, "sent", "delivered", "failed")
    Click.objects.create(message=campaign.messages.get(status="sent"), link=campaign.links.get())

    results.count_results(campaign)
    listed = results.figures_for([campaign])[campaign.pk]
    found = results.results_of(campaign)

    assert (listed.audience, listed.arrived, listed.clickers) == (3, 2, 1)
    assert (found.audience, found.arrived, found.clickers) == (3, 2, 1)


def test_a_campaign_without_messages_divides_by_nothing():
    found = results.count_results(make_campaign())

    assert (found.audience, found.progress, found.click_rate, found.unsubscribe_rate) == (0, 0, None, None)
    assert found.goal_share is None


def test_reading_the_figures_of_a_campaign_takes_one_query_whatever_its_size(django_assert_num_queries):
    make_people(20)
    campaign = launch(make_campaign(channels=("email", "sms")))
    results.count_results(campaign)
    with django_assert_num_queries(1):
        results.results_of(campaign)
    with django_assert_num_queries(1):
        results.figures_for([campaign])


def test_what_is_read_is_what_was_counted_to_the_last_figure():
    make_people(4)
    campaign = launch(make_campaign(channels=("email", "sms"), goal="revenue"))
    become(campaign, "sent", "delivered", "bounced", "planned")
    Message.objects.filter(status="planned").update(due_at=now() + timedelta(hours=3))
    Click.objects.create(message=campaign.messages.get(status="sent"), link=campaign.links.get())

    counted = results.count_results(campaign)

    assert counted.next_due is not None
    assert counted.speed
    assert results.results_of(campaign) == counted


def test_who_looks_before_the_first_count_counts():
    make_people(2)
    campaign = launch(make_campaign())

    assert results.results_of(campaign).audience == 2
    assert Tally.objects.get(campaign=campaign).counted_at is not None


def test_a_campaign_that_is_being_sent_is_counted_again_and_an_old_one_rests():
    make_people(1)
    sending, done = launch(make_campaign()), launch(make_campaign())
    Campaign.objects.filter(pk=done.pk).update(status="sent", finished_at=now() - timedelta(hours=2))

    assert results.count_overdue()
    assert results.count_overdue()
    assert not results.count_overdue(), "Both were counted a moment ago."
    Tally.objects.update(counted_at=now() - timedelta(seconds=30))
    assert results.count_overdue()
    assert not results.count_overdue(), "What was finished hours ago is counted once a minute."
    assert Tally.objects.get(campaign=sending).counted_at > now() - timedelta(seconds=20)
    assert Tally.objects.get(campaign=done).counted_at < now() - timedelta(seconds=20)


def test_a_dear_count_is_repeated_less_often():
    campaign = launch(make_campaign())
    results.count_results(campaign)
    Tally.objects.update(counted_at=now() - timedelta(seconds=30), cost_ms=2_000)
    assert not results.count_overdue()
    Tally.objects.update(counted_at=now() - timedelta(seconds=41))
    assert results.count_overdue()


def test_a_campaign_that_was_never_planned_is_never_counted():
    make_campaign()
    assert not results.count_overdue()


def test_the_page_asks_again_while_sending_and_stops_when_reports_are_in():
    campaign = make_campaign(brand=make_brand())
    campaign.status, campaign.send_at = "scheduled", now() + timedelta(seconds=5)
    assert results.poll_seconds(campaign) == 3
    campaign.send_at = now() + timedelta(hours=5)
    assert results.poll_seconds(campaign) == 10
    campaign.status = "sending"
    assert results.poll_seconds(campaign) == 3
    campaign.status, campaign.finished_at = "sent", now()
    assert results.poll_seconds(campaign) == 10
    campaign.finished_at = now() - timedelta(hours=1)
    assert results.poll_seconds(campaign) == 0


def test_the_hours_of_sending_have_no_gaps():
    make_people(2)
    campaign = launch(make_campaign())
    become(campaign, "sent", "sent")
    first = campaign.messages.order_by("pk")[0]
    Message.objects.filter(pk=first.pk).update(sent_at=now() - timedelta(minutes=3))

    speed = results.speed_of(results.count_results(campaign))

    assert speed["unit_name"] == "minute"
    assert speed["series"][0]["values"] == [1, 0, 0, 1]
    assert len(speed["labels"]) == 4


def test_what_came_back_is_told_by_reason_and_texts_by_their_cost():
    for number in range(4):
        make_customer(phone=f"+39333000000{number}", consents=("sms",))
    campaign = launch(make_campaign(channels=("sms",)))
    first, second, third, fourth = campaign.messages.order_by("pk").values_list("pk", flat=True)
    change = campaign.messages.filter
    change(pk=first).update(status="bounced", reason="bad_address", parts=1, cost_micros=0, currency="EUR")
    change(pk=second).update(status="failed", reason="spam")
    change(pk=third).update(status="failed", reason="")
    change(pk=fourth).update(status="delivered", parts=2, cost_micros=75_500, currency="EUR")

    [texts] = results.count_results(campaign).channels

    assert {(row.key, row.count) for row in texts.lost} == {("bad_address", 1), ("spam", 1), ("", 1)}
    assert (texts.lost_count, texts.parts, texts.cost) == (3, 3, {"EUR": 75_500})
    assert results.behind(campaign, group="lost", reason="spam").get().pk == second
    [kept] = results.results_of(campaign).channels
    assert kept == texts
    assert list(kept.groups) == list(results.GROUPS)  # The columns of the page.


# --- what would be sent -------------------------------------------------------------------------------


def waiting(**fields):
    campaign = make_campaign(**fields)
    services.schedule_campaign(campaign.pk, send_at=now() + timedelta(days=1), by=make_user())
    campaign.refresh_from_db()
    return campaign


def test_a_forecast_is_kept_for_who_looks_later(django_assert_num_queries):
    make_people(2)
    make_customer(email="no@x.example")
    campaign = waiting()
    first = results.forecast_of(campaign)

    assert (first.people, first.messages, first.held_back) == (2, 2, {"email": {"no_consent": 1}})
    with django_assert_num_queries(1):
        assert results.forecast_of(campaign) == first


def test_a_forecast_of_another_revision_is_made_anew():
    make_people(2)
    campaign = waiting()
    results.forecast_of(campaign)
    make_people(1)
    assert results.forecast_of(campaign).people == 2
    Campaign.objects.filter(pk=campaign.pk).update(revision=campaign.revision + 1)
    campaign.refresh_from_db()
    assert results.forecast_of(campaign).people == 3


def test_a_worker_renews_an_old_forecast_while_the_campaign_waits():
    make_people(2)
    campaign = waiting()
    results.forecast_of(campaign)
    make_people(1)
    assert not results.foresee_overdue(), "It was made a moment ago."
    Tally.objects.update(foreseen_at=now() - timedelta(minutes=2))
    assert results.foresee_overdue()
    assert results.forecast_of(campaign).people == 3

    Campaign.objects.filter(pk=campaign.pk).update(status="draft")
    Tally.objects.update(foreseen_at=now() - timedelta(minutes=2))
    assert not results.foresee_overdue()


def test_a_forecast_that_fails_is_left_to_who_looks(monkeypatch):
    make_people(1)
    campaign = waiting()
    results.forecast_of(campaign)

    def too_slow(campaign):
        raise DomainError("It takes too long.")

    monkeypatch.setattr(planning, "forecast", too_slow)
    Tally.objects.update(foreseen_at=now() - timedelta(minutes=2))
    assert results.foresee_overdue()
    assert not results.foresee_overdue()
    with pytest.raises(DomainError):
        results.forecast_of(campaign)
