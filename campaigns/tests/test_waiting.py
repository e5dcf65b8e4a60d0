"""Large audiences: a page tries for a moment, a worker counts, the page shows what it found."""

import pytest
from django.core.cache import cache
from django.urls import reverse
from redis.exceptions import ConnectionError as CacheAway

from campaigns import audience, planning, services, tasks, waiting
from campaigns.models import Campaign
from campaigns.tests.factories import make_campaign
from core.roles import Role
from core.tests.factories import make_user
from customers.tests.factories import make_customer
from segments.limits import TooSlow

pytestmark = pytest.mark.django_db


@pytest.fixture
def campaign(client) -> Campaign:
    for number in range(3):
        make_customer(email=f"p{number}@x.example", consents=("email",), language="it")
    client.force_login(make_user(role=Role.MARKETING_MANAGER))
    return make_campaign()


@pytest.fixture
def impatient(monkeypatch) -> list[tuple]:
    """Pages get no answer of their own; what they ask of workers is the list."""
    asked: list[tuple] = []
    found = waiting._found

    def slow_for_pages(find, limit_ms=None):
        if limit_ms == waiting.PATIENCE_MS:
            raise TooSlow("It takes too long.")
        return found(find, limit_ms)

    monkeypatch.setattr(waiting, "_found", slow_for_pages)
    monkeypatch.setattr(waiting, "ring", lambda task, *args: asked.append((task, *args)))
    return asked


def page(client, name: str, campaign: Campaign) -> str:
    return " ".join(client.get(reverse(f"campaigns:{name}", args=[campaign.pk])).content.decode().split())


def work(asked: list[tuple]) -> None:
    """What a worker does with what it was asked."""
    while asked:
        name, *args = asked.pop(0)
        getattr(tasks, name.rpartition(".")[2])(*args)


WAIT = "The number appears here by itself"


def test_the_review_waits_for_a_worker_and_then_launches_what_it_read(
    client, campaign, impatient, monkeypatch
):
    assert WAIT in page(client, "review", campaign)
    assert WAIT in page(client, "review", campaign), "Nobody is asked twice."
    assert impatient == [("campaigns.tasks.measure_audience", "forecast", campaign.pk)]

    work(impatient)
    assert WAIT in page(client, "review", campaign), "The languages are asked for now."
    work(impatient)
    review = page(client, "review", campaign)
    assert "Send to 3 people" in review
    assert "Italian" in review

    monkeypatch.setattr(planning, "forecast", lambda campaign: pytest.fail("It is known already."))
    answer = client.post(reverse("campaigns:review", args=[campaign.pk]), {"people": "3"})
    assert answer.status_code == 302
    campaign.refresh_from_db()
    assert campaign.status == "scheduled"


@pytest.mark.parametrize(
    ("name", "asker"),
    [
        ("review", {"HX-Target": "who"}),
        ("detail", {"HX-Target": "who"}),
        ("audience_count", {"HX-Trigger": "reach-waits"}),
    ],
)
def test_a_page_that_asks_again_is_not_drawn_again_before_there_is_a_number(
    client, campaign, impatient, name, asker
):
    include = campaign.include.get().pk
    if name == "detail":
        services.schedule_campaign(campaign.pk, send_at=None, by=campaign.created_by)
    url = reverse(f"campaigns:{name}", args=[campaign.pk])

    def ask():
        return client.get(url, {"include": include}, headers={"HX-Request": "true", **asker})

    assert ask().status_code == 204
    work(impatient)
    ask()
    work(impatient)
    assert ask().status_code == 200


def test_a_campaign_that_was_edited_is_counted_again(client, campaign, impatient):
    page(client, "review", campaign)
    work(impatient)
    services.update_campaign(campaign.pk, by=campaign.created_by, name="Another")

    assert WAIT in page(client, "review", campaign)
    assert len(impatient) == 1


def test_the_number_of_an_audience_arrives_at_its_step(client, campaign, impatient):
    assert WAIT in page(client, "audience", campaign)
    work(impatient)
    assert "people in the audience" in page(client, "audience", campaign)


def test_the_page_of_a_campaign_that_waits_shows_what_a_worker_foresaw(client, campaign, impatient):
    services.schedule_campaign(campaign.pk, send_at=None, by=campaign.created_by)
    assert WAIT in page(client, "detail", campaign)
    work(impatient)
    assert "Would reach now" in page(client, "detail", campaign)
    assert WAIT not in page(client, "detail", campaign)


def test_what_even_a_worker_cannot_count_is_said(client, campaign, impatient, monkeypatch):
    page(client, "review", campaign)

    def too_slow(campaign):
        raise TooSlow("This takes too long to count.")

    monkeypatch.setattr(planning, "forecast", too_slow)
    work(impatient)
    review = page(client, "review", campaign)
    assert "This takes too long to count." in review
    assert 'name="people"' not in review


def test_without_a_cache_the_page_counts_by_itself(campaign, monkeypatch):
    def away(*args, **kwargs):
        raise CacheAway

    monkeypatch.setattr(cache, "get", away)
    assert audience.forecast_of(campaign).found.people == 3
