from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils.timezone import now

from analytics import kept
from analytics.attention import matters
from analytics.overview import coming, launched
from campaigns import services
from campaigns.models import Campaign, Click, Link, Message
from campaigns.tests.factories import launch, make_brand, make_campaign, make_segment
from core.roles import Role
from core.tests.factories import make_user
from customers.models import ImportJob
from customers.tests.factories import make_customer
from orders.tests.factories import make_order
from segments.models import Segment

pytestmark = pytest.mark.django_db


def home(client, user, query=""):
    client.force_login(user)
    return client.get(reverse("analytics:home") + query)


def problems(user):
    """The problems as this person reads them."""
    ahead = coming(user, now())
    return [m.problem for m in matters(user, coming=ahead, launched=launched("EUR"), now=now())]


def reached(count, **fields):
    """A campaign launched to so many people, every message sent."""
    for _ in range(count):
        make_customer(email=f"p{make_customer().pk}@x.example", consents=("email",))
    campaign = launch(make_campaign(**fields))
    campaign.messages.filter(status="planned").update(status="sent", sent_at=now(), sending_at=now())
    return campaign


# --- the page ---------------------------------------------------------------------------------------


def test_a_new_house_is_shown_where_to_begin(client):
    page = home(client, make_user())
    assert page.status_code == 200
    assert "Import your customers" in page.content.decode()
    assert reverse("customers:import") in page.content.decode()


def test_who_may_not_import_is_not_led_there(client):
    page = home(client, make_user(role=Role.ANALYST))
    assert reverse("customers:import") not in page.content.decode()


def test_home_greets_by_first_name_and_shows_the_figures(client):
    make_order(make_customer(), total_minor=123_400, at=now() - timedelta(minutes=1))
    page = home(client, make_user(name="Ada Lovelace"))
    text = page.content.decode()
    assert ", Ada" in text
    assert "€1,234" in text
    assert "compared with the 30 days before" in " ".join(text.split())


@pytest.mark.parametrize(("query", "days"), [("", 30), ("?days=7", 7), ("?days=90", 90), ("?days=x", 30)])
def test_the_period_stands_in_the_address(client, query, days):
    make_customer()
    assert home(client, make_user(), query).context["period"].days == days


@pytest.mark.parametrize("role", [Role.STORE_MANAGER, Role.STORE_CLERK])
def test_store_staff_have_no_home(client, role):
    assert home(client, make_user(role=role)).status_code == 403


def test_home_asks_the_same_few_questions_however_much_there_is(client, django_assert_num_queries):
    user = make_user()
    client.force_login(user)
    for customer in [make_customer() for _ in range(3)]:
        make_order(customer)
    for _ in range(3):
        launch(make_campaign(by=user))
    for _ in range(3):
        campaign = make_campaign(by=user)
        services.schedule_campaign(campaign.pk, send_at=now() + timedelta(days=1), by=user)
    client.get(reverse("analytics:home"))  # Who looks first, counts.
    with django_assert_num_queries(9):
        page = client.get(reverse("analytics:home"))
    assert page.status_code == 200


def test_figures_are_counted_again_by_a_worker_when_they_are_old(client, monkeypatch):
    make_order(make_customer(), total_minor=123_400, at=now() - timedelta(minutes=1))
    user = make_user()
    home(client, user)
    make_order(make_customer(), total_minor=100_000, at=now() - timedelta(minutes=1))

    kept.count_overdue()
    assert "€1,234" in home(client, user).content.decode(), "They were counted a moment ago."
    monkeypatch.setattr(kept, "FRESH_SECONDS", 0)
    monkeypatch.setattr(kept, "COST_SHARE", 0)
    kept.count_overdue()
    assert "€2,234" in home(client, user).content.decode()


def test_figures_nobody_looks_at_are_not_counted(client, django_assert_num_queries):
    home(client, make_user(), "?days=7")
    with django_assert_num_queries(0):
        kept.count_overdue()


def test_home_reads_in_italian(client):
    make_order(make_customer(), total_minor=123_400)
    user = make_user(language="it")
    client.force_login(user)
    client.cookies["django_language"] = "it"
    assert client.get(reverse("analytics:home")).status_code == 200


# --- campaigns --------------------------------------------------------------------------------------


def test_the_latest_campaigns_come_with_what_came_of_them():
    campaign = reached(3)
    first, second, third = campaign.messages.filter(status="sent")
    third.status = Message.Status.BOUNCED
    third.save()
    link = Link.objects.filter(campaign=campaign).first()
    Click.objects.create(message=first, link=link)
    Click.objects.create(message=first, link=link)
    Click.objects.create(message=second, link=link, is_machine=True)

    [row] = launched("EUR")

    assert (row.audience, row.arrived, row.bounced) == (6, 2, 1)
    assert row.clickers == 1
    assert row.click_rate == pytest.approx(0.5)
    assert row.channels == ["email"]


def test_coming_up_counts_the_people_of_its_segments():
    user = make_user()
    one, two = make_segment(name="One"), make_segment(name="Two")
    Segment.objects.filter(pk=one.pk).update(match_count=40)
    Segment.objects.filter(pk=two.pk).update(match_count=2)
    campaign = make_campaign(channels=("email", "sms"), include=(one, two), by=user)
    services.schedule_campaign(campaign.pk, send_at=now() + timedelta(days=2), by=user)

    [row] = coming(user, now())

    assert (row.channels, row.segments, row.people) == (["email", "sms"], ["One", "Two"], 42)


# --- what needs somebody ----------------------------------------------------------------------------


def test_a_campaign_that_waits_is_approved_by_another_person_only():
    make_customer(email="ada@x.example", consents=("email",))
    asker, manager, marketer = make_user(), make_user(), make_user(role=Role.MARKETER)
    campaign = make_campaign(brand=make_brand(approval_above=0), by=asker)
    services.schedule_campaign(campaign.pk, send_at=now() + timedelta(days=2), by=asker)

    def offered(user):
        [matter] = matters(user, coming=coming(user, now()), launched=[], now=now())
        return matter.posts, matter.url

    assert offered(manager) == (True, reverse("campaigns:approve", args=[campaign.pk]))
    for user in (asker, marketer):
        assert offered(user) == (False, reverse("campaigns:detail", args=[campaign.pk]))


def test_approving_from_home_lets_the_campaign_go(client):
    make_customer(email="ada@x.example", consents=("email",))
    asker, manager = make_user(), make_user()
    campaign = make_campaign(brand=make_brand(approval_above=0), by=asker)
    services.schedule_campaign(campaign.pk, send_at=now() + timedelta(days=2), by=asker)
    url = reverse("campaigns:approve", args=[campaign.pk])
    assert f'action="{url}"' in home(client, manager).content.decode()
    client.post(url)
    campaign.refresh_from_db()
    assert campaign.status == Campaign.Status.SCHEDULED


def test_a_draft_close_to_its_hour_is_told_and_a_distant_one_is_not():
    user = make_user()
    near, far, missed = (make_campaign(by=user) for _ in range(3))
    for campaign, days in ((near, 1), (far, 9), (missed, -1)):
        services.update_campaign(campaign.pk, send_at=now() + timedelta(days=days), by=user)
    assert problems(user) == [f"“{missed.name}” is still a draft", f"“{near.name}” is still a draft"]


def test_a_campaign_nobody_started_is_told():
    user = make_user()
    campaign = make_campaign(by=user)
    services.schedule_campaign(campaign.pk, send_at=now() - timedelta(minutes=10), by=user)
    assert problems(user) == [f"“{campaign.name}” has not started"]


def test_failed_unknown_and_paused_are_told_each_with_its_people():
    campaign = reached(3)
    failed, unknown, _sent = campaign.messages.filter(status="sent")
    Message.objects.filter(pk=failed.pk).update(status="failed", reason="provider_error")
    Message.objects.filter(pk=unknown.pk).update(status="unknown", reason="no_answer")
    services.pause_campaign(campaign.pk, by=make_user())
    assert problems(make_user()) == [
        f"1 message of “{campaign.name}” failed",
        f"“{campaign.name}” is paused",
        f"The fate of 1 message of “{campaign.name}” is unknown",
    ]


def test_too_many_bounces_are_told_once_there_are_enough_messages_to_say_so():
    campaign = reached(20)
    Message.objects.filter(pk=campaign.messages.filter(status="sent").first().pk).update(status="bounced")
    assert problems(make_user()) == [f"5.0% of “{campaign.name}” came back"]


def test_one_bounce_of_few_is_no_matter():
    campaign = reached(3)
    Message.objects.filter(pk=campaign.messages.filter(status="sent").first().pk).update(status="bounced")
    assert problems(make_user()) == []


def test_an_old_campaign_troubles_nobody():
    campaign = reached(2)
    campaign.messages.filter(status="sent").update(status="failed")
    Campaign.objects.filter(pk=campaign.pk).update(planned_at=now() - timedelta(days=31))
    assert problems(make_user()) == []


def test_files_with_gaps_are_told_to_those_who_may_bring_files():
    job = ImportJob.objects.create(
        kind="customers", status="done", file_name="a.csv", rows=5, created=3, rejected=2, finished_at=now()
    )
    ImportJob.objects.create(
        kind="orders", status="failed", file_name="b.csv", error="No.", finished_at=now()
    )
    assert problems(make_user()) == [
        "b.csv was not imported to the end",
        "2 rows of a.csv were refused",
    ]
    assert problems(make_user(role=Role.ANALYST)) == []
    ImportJob.objects.filter(pk=job.pk).update(finished_at=now() - timedelta(days=15))
    assert problems(make_user()) == ["b.csv was not imported to the end"]


def test_segments_that_are_not_counted_are_told_together():
    old = now() - timedelta(days=2)
    fresh, one, two, broken = (make_segment(name=name) for name in ("Fresh", "One", "Two", "Broken"))
    Segment.objects.filter(pk=fresh.pk).update(counted_at=now())
    Segment.objects.filter(pk__in=[one.pk, two.pk]).update(counted_at=old)
    Segment.objects.filter(pk=broken.pk).update(count_failed_at=now())
    assert problems(make_user()) == ["“Broken” could not be counted", "The figures of 2 segments are old"]
