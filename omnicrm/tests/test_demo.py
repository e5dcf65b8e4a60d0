import csv
import io
from datetime import UTC, date, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import OutputWrapper
from django.utils.timezone import now

from analytics.kpis import Period, figures_of
from campaigns import services
from campaigns.models import Campaign, CampaignDay, Click, Conversion, DayPressure, Habit, Message, Occurrence
from campaigns.planning import forecast
from campaigns.results import count_results
from campaigns.tasks import dispatch_messages, launch_due_campaigns
from core.models import User
from core.roles import Role
from customers.models import Consent, Customer, Event, ImportJob, Suppression
from customers.tests.factories import make_customer
from inventory.models import Store
from omnicrm import demo
from omnicrm.demo import telling
from omnicrm.demo.people import HEADER, People, write_customers
from omnicrm.demo.sends import PAST
from omnicrm.demo.sizes import Size
from omnicrm.demo.trade import day_weight, write_orders
from omnicrm.invariants import check_invariants
from orders.models import Order
from segments.models import Segment

SMALL = Size(customers=400, orders=1300, events=700, troubled=2, approval_above=150)


def tables():
    models = (User, Store, Customer, Consent, Order, Segment, ImportJob, Click, Conversion, Suppression)
    return {model.__name__: model.objects.count() for model in models} | {
        "browsing": Event.objects.filter(source="demo").count()
    }


def told_of(story):
    out = OutputWrapper(io.StringIO())
    demo.tell(story, 8123, out)
    return out.getvalue()


@pytest.fixture
def prepared(transactional_db, settings, tmp_path):
    settings.VAR_DIR = tmp_path
    out = OutputWrapper(io.StringIO())
    return demo.prepare(out, SMALL), out


@pytest.mark.slow
def test_the_demo_comes_in_once_and_every_promise_holds(prepared):
    story, out = prepared
    shown = out.getvalue()
    assert "415 rows, 9 refused" in shown
    assert "1,304 rows, 4 refused" in shown
    assert set(User.objects.values_list("role", flat=True)) == set(Role.values)
    assert User.objects.get(role=Role.STORE_CLERK).stores.get().city == "Milano"
    assert Customer.objects.count() == 406
    assert Order.objects.count() == 1300
    assert not Segment.objects.filter(counted_at=None).exists()
    assert [f.invariant.code for f in check_invariants() if f.count] == []

    _past_campaigns_add_up()
    _the_coming_waits(story)
    before = tables()
    again = demo.prepare(OutputWrapper(io.StringIO()), SMALL)

    assert again.campaign_id != story.campaign_id
    assert tables() == before
    assert Campaign.objects.filter(name__startswith="First look").count() == 2
    assert Campaign.objects.count() == len(PAST) + 7


def _past_campaigns_add_up():
    """Each has its figures, and its traces in the log."""
    for plan in PAST:
        campaign = Campaign.objects.get(name=plan.name)
        results = count_results(campaign)
        assert campaign.status == Campaign.Status.SENT
        assert campaign.finished_at < now() - timedelta(days=20)
        assert results.audience == sum(results.groups.values()) > 0
        assert results.groups["waiting"] == 0
        arrived = Event.objects.filter(name="Message Sent", properties__campaign=campaign.pk)
        assert arrived.count() == campaign.messages.exclude(sent_at=None).count()
    assert (
        Click.objects.filter(is_machine=False).count() == Event.objects.filter(name="Message Clicked").count()
    )
    left = Event.objects.filter(name="Message Unsubscribed").count()
    assert left == Consent.objects.filter(event__source="unsubscribe page", state="revoked").count() > 0
    assert Message.objects.filter(status="bounced").count() == Suppression.objects.count() > 0
    assert Conversion.objects.exists()
    figures = figures_of(Period(90, now()))
    assert figures.attributed.value > 0


def _the_coming_waits(story):
    """One for approval, one for its day, one for everybody's evening, one each Saturday, one as a draft;
    the main one for some seconds. The calendar knows what they ask of people.
    """
    statuses = dict(Campaign.objects.values_list("name", "status"))
    assert statuses["Winter letter to all readers"] == "approval"
    assert statuses["Mending Saturday"] == "scheduled"
    assert statuses["Gift ideas under 50 €"] == "draft"
    assert statuses["Candles for the first cold evening"] == statuses["The Saturday letter"] == "scheduled"
    assert Habit.objects.exists()
    assert DayPressure.objects.filter(messages__gt=0).count() > 2
    assert CampaignDay.objects.filter(campaign__status="sent", sent__gt=0).count() >= len(PAST)
    main = Campaign.objects.get(pk=story.campaign_id)
    assert main.status == "scheduled"
    assert timedelta() < main.send_at - main.created_at < timedelta(seconds=10)
    assert forecast(main).people > 20


@pytest.mark.slow
def test_the_story_is_told_plainly_whatever_happens_and_with_the_figures_of_the_page(
    prepared, settings, monkeypatch
):
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    story, _out = prepared
    Campaign.objects.filter(pk=story.campaign_id).update(send_at=now())
    Occurrence.objects.filter(campaign=story.campaign_id).update(launch_at=now())
    monkeypatch.setattr(telling, "REPORTS", timedelta())
    monkeypatch.setattr(telling, "PATIENCE", timedelta())
    assert "has not started" in told_of(story)

    launch_due_campaigns()
    waiting = Message.objects.filter(campaign=story.campaign_id, status="planned")
    waiting.update(reason="provider_error")
    says = f"{waiting.count():,} messages still wait: the provider answered with an error."
    assert says in told_of(story)

    dispatch_messages("email")
    dispatch_messages("sms")
    services.finish_campaigns()
    told = told_of(story)
    assert "Everything had left" in told
    results = count_results(Campaign.objects.get(pk=story.campaign_id))
    assert f"went to {results.people:,} people on 2 channels" in told
    assert f"http://localhost:8123/campaigns/{story.campaign_id}/" in told
    for figures in results.channels:
        row = next(line for line in told.splitlines() if line.lower().startswith(figures.channel))
        numbers = [int(number.replace(",", "")) for number in row.split()[1:]]
        groups = figures.groups
        assert numbers == [figures.audience] + [
            groups[name] for name in ("sent", "delivered", "bounced", "failed", "unknown", "waiting", "held")
        ]
    assert "No consent for this channel" in told
    assert "manager@casaontano.example" in told
    assert "omnicrm-demo" in told


@pytest.mark.django_db
def test_the_demo_keeps_out_of_a_house_with_customers(settings, tmp_path):
    settings.VAR_DIR = tmp_path
    make_customer()
    with pytest.raises(CommandError, match="folder of its own"):
        demo.prepare(OutputWrapper(io.StringIO()), SMALL)
    assert User.objects.count() == 0


def test_the_files_are_the_same_every_time(tmp_path):
    at = datetime(2026, 11, 21, 15, tzinfo=UTC)
    for name in ("one", "two"):
        people = People(SMALL, at.date()).invent()
        write_customers(tmp_path / f"{name}-c.csv", people, at.date())
        write_orders(tmp_path / f"{name}-o.csv", people, count=500, now=at)
    for file in ("c", "o"):
        assert (tmp_path / f"one-{file}.csv").read_text() == (tmp_path / f"two-{file}.csv").read_text()


def test_nobody_shares_an_address_or_writes_from_a_real_domain(tmp_path):
    people = People(Size(2000, 0, 0, 4, 0), date(2026, 11, 21)).invent()
    emails = [person.email for person in people if person.email]
    phones = [person.origin.prefix + person.phone for person in people if person.phone]
    assert len(set(emails)) == len(emails)
    assert len(set(phones)) == len(phones)
    assert all(email.endswith(".example") for email in emails)
    assert any(email.startswith("gone.") for email in emails)
    write_customers(tmp_path / "c.csv", people, date(2026, 11, 21))
    rows = list(csv.reader((tmp_path / "c.csv").open(encoding="utf-8")))
    assert {len(row) for row in rows} == {len(HEADER)}


def test_trade_has_its_seasons():
    today = date(2026, 11, 30)
    friday, black_friday = date(2026, 11, 13), date(2026, 11, 27)
    assert day_weight(black_friday, today) > 2.5 * day_weight(friday, today)
    assert day_weight(date(2025, 12, 20), today) > 2 * day_weight(date(2026, 3, 14), today)
    assert day_weight(date(2026, 8, 15), today) < day_weight(date(2026, 9, 12), today)
    assert day_weight(date(2026, 10, 17), today) > day_weight(date(2026, 10, 12), today)


@pytest.mark.django_db
def test_seed_adds_as_many_as_it_was_told_and_can_be_repeated():
    for _ in range(2):
        call_command("seed", customers=50, events=120, stdout=io.StringIO())
    assert Customer.objects.count() == 100
    assert Event.objects.filter(source="seed").count() == 240
    assert Consent.objects.filter(channel="email", state="granted").count() == 70
    assert [f.invariant.code for f in check_invariants() if f.count] == []


@pytest.mark.django_db
def test_seed_needs_customers_for_its_events():
    with pytest.raises(CommandError, match="need customers"):
        call_command("seed", customers=0, events=5, stdout=io.StringIO())
