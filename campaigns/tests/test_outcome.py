from datetime import timedelta

import pytest
from django.utils.timezone import now

from campaigns import outcome
from campaigns.models import Message, Occurrence, Outcome, Tally
from campaigns.outcome import Comparison, Interval, Side, compare
from campaigns.tests.factories import launch, make_campaign
from customers.tests.factories import make_customer, make_event

pytestmark = pytest.mark.django_db


def crowd(people):
    return [make_customer(email=f"p{n}@x.example", consents=("email",)) for n in range(people)]


def buys(customer, *, minor=1000, at=None, currency="EUR"):
    return make_event(
        customer, "Order Completed", at=at, properties={"total_minor": minor, "currency": currency}
    )


def sides_of(campaign):
    """The customers that were assigned to get it, and those held out."""
    sent = [one.customer for one in campaign.messages.exclude(reason="holdout").order_by("pk")]
    return sent, [one.customer for one in campaign.messages.filter(reason="holdout").order_by("pk")]


@pytest.fixture
def campaign(db):
    """A campaign that went out two days ago to a hundred people, some of them held out."""
    crowd(100)
    campaign = launch(make_campaign(holdout_percent=40, goal_days=7))
    moved = now() - timedelta(days=2)
    campaign.messages.update(scheduled_for=moved, due_at=moved + timedelta(hours=3))
    return campaign


# --- who counts, and what -------------------------------------------------------------------------


def test_what_both_sides_bought_in_the_goal_window_is_compared(campaign):
    sent, held_out = sides_of(campaign)
    for customer in sent[:10]:
        buys(customer, minor=2000)
    buys(sent[0], minor=500)
    for customer in held_out[:2]:
        buys(customer, minor=1000)

    found = compare(campaign)

    assert found.treated == Side(len(sent), 10, 11, 20_500, 9 * 2000.0**2 + 2500.0**2)
    assert found.held_out == Side(len(held_out), 2, 2, 2000, 2 * 1000.0**2)
    assert found.currency == "EUR"


def test_orders_outside_the_window_do_not_count(campaign):
    sent, held_out = sides_of(campaign)
    buys(sent[0], at=now() - timedelta(days=2, minutes=1))
    buys(held_out[0], at=now() - timedelta(days=2, minutes=1))
    campaign.messages.update(scheduled_for=now() - timedelta(days=8))
    buys(sent[1])
    buys(held_out[1])

    found = compare(campaign)

    assert (found.treated.buyers, found.held_out.buyers) == (1, 1)  # Those of three days ago.


def test_everybody_who_was_assigned_counts_with_their_side_whatever_became_of_the_message(campaign):
    sent, held_out = sides_of(campaign)
    later = now() - timedelta(days=1)
    fates = [("bounced", "bad_address"), ("failed", "spam"), ("suppressed", "revoked")]
    fates += [("suppressed", "cancelled"), ("suppressed", "pressure"), ("unknown", "no_answer")]
    for customer, (status, reason) in zip(sent, fates, strict=False):
        campaign.messages.filter(customer=customer).update(status=status, reason=reason, settled_at=later)
        buys(customer)

    assert compare(campaign).treated.buyers == len(fates)
    assert compare(campaign).treated.people == len(sent)
    assert compare(campaign).held_out.people == len(held_out)


def test_who_was_over_a_limit_when_planning_was_assigned_and_who_could_not_be_reached_was_not(campaign):
    sent, _ = sides_of(campaign)
    at_once = campaign.messages.first().planned_at
    for customer, reason in zip(sent, ["pressure", "no_consent", "no_address", "same_address"], strict=False):
        campaign.messages.filter(customer=customer).update(
            status="suppressed", reason=reason, settled_at=at_once
        )
        buys(customer)

    found = compare(campaign).treated
    assert (found.people, found.buyers) == (len(sent) - 3, 1)


def test_planning_writes_both_times_of_who_was_held_back_alike(campaign):
    """What tells them from those held back later."""
    kept = campaign.messages.filter(status="suppressed").first()
    assert kept.settled_at == kept.planned_at


def test_a_person_on_two_channels_and_at_two_times_counts_once_and_each_order_once():
    customer = make_customer(email="ada@x.example", phone="+393331234567", consents=("email", "sms"))
    campaign = launch(make_campaign(channels=("email", "sms"), holdout_percent=0, goal_days=7))
    Occurrence.objects.create(
        campaign=campaign,
        number=1,
        local_date=now().date() + timedelta(days=1),
        local_time=now().time(),
        launch_at=now(),
    )
    first = campaign.messages.filter(channel="email").get()
    Message.objects.create(
        campaign=campaign,
        occurrence=1,
        customer=customer,
        channel="email",
        address="ada@x.example",
        due_at=now(),
        scheduled_for=first.scheduled_for + timedelta(hours=1),
    )
    buys(customer, at=now() + timedelta(hours=2))

    found = compare(campaign, at=now() + timedelta(days=1))

    assert (found.treated.people, found.treated.buyers, found.treated.orders) == (1, 1, 1)


def test_revenue_is_told_in_the_currency_most_orders_have(campaign):
    sent, _ = sides_of(campaign)
    for customer in sent[:3]:
        buys(customer, minor=1000)
    buys(sent[3], minor=9_999_999, currency="JPY")
    found = compare(campaign)
    assert (found.currency, found.treated.revenue, found.treated.buyers) == ("EUR", 3000, 4)


# --- what may be said of it -----------------------------------------------------------------------


def test_the_interval_is_newcombes():
    """The example of Newcombe (1998), table II: 56 of 70 against 48 of 80."""
    found = Comparison.of(Side(70, 56), Side(80, 48))
    assert found.rate is not None
    assert (found.rate.value, found.rate.low, found.rate.high) == pytest.approx(
        (0.2, 0.0524, 0.3339), abs=1e-4
    )
    assert found.p_value == pytest.approx(0.0083, abs=2e-4)
    assert found.rate.is_beyond_chance
    more = found.more_buyers
    assert more is not None
    assert (more.value, more.low) == pytest.approx((14, 3.67), abs=0.01)


def test_nobody_bought_anything():
    found = Comparison.of(Side(70), Side(80))
    assert found.rate is not None
    assert not found.rate.is_beyond_chance
    assert found.p_value is None
    assert found.revenue is None
    assert found.visible is not None
    assert 0 < found.visible < 0.2


def test_the_interval_of_revenue_is_welchs():
    """Against scipy's own, on the people themselves."""
    from scipy import stats

    spent = [0.0] * 60 + [float(1000 + 37 * n) for n in range(40)]
    kept = [0.0] * 170 + [float(500 + 91 * n) for n in range(30)]
    treated, held_out = (
        Side(len(each), sum(map(bool, each)), 0, int(sum(each)), sum(x**2 for x in each))
        for each in (spent, kept)
    )
    found = outcome.difference_of_revenue(treated, held_out)
    expected = stats.ttest_ind(spent, kept, equal_var=False).confidence_interval(0.95)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_few_buyers_give_no_interval_of_revenue():
    many, few = Side(1000, 100, 100, 100_000, 1e8), Side(1000, 29, 29, 29_000, 3e7)
    assert outcome.difference_of_revenue(many, few) is None


def test_what_could_have_been_seen_grows_with_the_groups():
    """Forty held out of a thousand: a rise from 3 % has to reach 15 % to be seen four times of five."""
    little = outcome.smallest_visible(Side(960, 48), Side(40, 1))
    much = outcome.smallest_visible(Side(96_000, 4800), Side(4000, 120))
    assert little == pytest.approx(0.116, abs=0.005)
    assert much == pytest.approx(0.0083, abs=0.0005)


@pytest.mark.parametrize("sides", [(Side(0), Side(0)), (Side(5, 2), Side(0)), (Side(1, 1), Side(1, 0))])
def test_too_few_people_are_not_compared(sides):
    found = Comparison.of(*sides)
    assert (found.rate, found.visible, found.revenue) == (None, None, None)


def test_a_comparison_is_kept_as_it_was():
    found = Comparison.of(Side(70, 56, 60, 1000, 1e6), Side(80, 48, 50, 900, 1e6), "EUR")
    assert Comparison.kept(found.as_json()) == found
    assert Interval(0.1, -0.1, 0.3).times(10) == Interval(1.0, -1.0, 3.0)


# --- when -----------------------------------------------------------------------------------------


def test_a_campaign_is_compared_again_when_it_is_overdue(campaign):
    Tally.objects.create(campaign=campaign)
    assert outcome.count_overdue()
    assert not outcome.count_overdue()
    Outcome.objects.update(counted_at=now() - timedelta(minutes=11))
    assert outcome.count_overdue()

    shown = outcome.outcome_of(campaign)
    assert shown is not None
    assert shown.comparison.held_out.people > 0
    assert not shown.is_over


def test_a_campaign_for_everybody_is_not_compared():
    crowd(3)
    campaign = launch(make_campaign())
    Tally.objects.create(campaign=campaign)
    assert not outcome.count_overdue()
    assert outcome.outcome_of(campaign) is None


def test_pages_read_and_never_compare(campaign, django_assert_num_queries):
    outcome.count_outcome(campaign)
    with django_assert_num_queries(1):
        assert outcome.outcome_of(campaign) is not None
