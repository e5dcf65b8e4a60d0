from datetime import UTC, datetime, timedelta

import pytest

from analytics.kpis import Period, figures_of, sales_by_store
from campaigns.models import Conversion
from campaigns.tests.factories import launch, make_campaign
from customers.models import Event
from customers.tests.factories import make_customer, make_event
from inventory.tests.factories import make_store
from orders.tests.factories import make_order

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 6, 17, 13, 0, tzinfo=UTC)  # 15:00 in Rome.
PERIOD = Period(7, NOW)


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def test_a_period_ends_now_and_is_compared_with_the_same_hours_before():
    assert PERIOD.start.isoformat() == "2026-06-11T00:00:00+02:00"
    assert PERIOD.previous_start.isoformat() == "2026-06-04T00:00:00+02:00"
    assert PERIOD.previous_end.isoformat() == "2026-06-10T15:00:00+02:00"
    assert len(PERIOD.dates) == 7


def test_a_period_over_the_change_of_clocks_keeps_whole_local_days():
    period = Period(7, datetime(2026, 3, 31, 10, 0, tzinfo=UTC))  # Summer time began on the 29th.
    assert period.start.isoformat() == "2026-03-25T00:00:00+01:00"
    assert period.previous_end.isoformat() == "2026-03-24T12:00:00+01:00"


def test_revenue_and_orders_count_what_was_completed_in_the_period():
    ada = make_customer()
    make_order(ada, total_minor=1000, at=ago(0))
    make_order(ada, total_minor=2500, at=ago(6.2))
    make_order(ada, total_minor=4000, at=ago(7.1))  # 10 June, before 15:00: the span before.
    make_order(ada, total_minor=9000, at=ago(6.9))  # 10 June, after 15:00: in neither.
    make_order(ada, total_minor=9000, at=ago(14.1))
    make_order(ada, total_minor=9000, at=ago(1), status="cancelled")

    figures = figures_of(PERIOD)

    assert (figures.revenue.value, figures.revenue.previous) == (3500, 4000)
    assert figures.revenue.change == pytest.approx(-0.125)
    assert (figures.orders.value, figures.orders.previous) == (2, 1)
    assert figures.revenue.series == [2500, 0, 0, 0, 0, 0]  # Today is not over.


def test_the_chart_splits_revenue_by_local_day_and_place_the_strongest_first():
    ada = make_customer()
    make_order(ada, total_minor=1000, at=datetime(2026, 6, 15, 22, 30, tzinfo=UTC))  # The 16th in Rome.
    make_order(ada, total_minor=700, at=ago(0), channel="store")
    make_order(ada, total_minor=800, at=ago(0), channel="store")

    assert list(figures_of(PERIOD).by_channel.items()) == [
        ("store", [0, 0, 0, 0, 0, 0, 1500]),
        ("web", [0, 0, 0, 0, 0, 1000, 0]),
    ]


def test_repeat_purchase_rate_is_the_share_of_buyers_who_had_bought_before():
    ada, bob, eve, ida = (make_customer() for _ in range(4))
    make_order(ada, at=ago(300))
    make_order(ada, at=ago(2))  # Had bought before.
    make_order(bob, at=ago(2))
    make_order(bob, at=ago(1))  # Came back within the period.
    make_order(eve, at=ago(3))  # Her first.
    make_order(ida, at=ago(400), status="cancelled")
    make_order(ida, at=ago(3))  # A cancelled order is none.
    make_order(eve, at=ago(8))
    Event.objects.all().delete()

    figures = figures_of(PERIOD)

    assert figures.buyers.value == 4
    assert figures.repeat.value == pytest.approx(3 / 4)  # Ada, Bob, and Eve who bought eight days ago.
    assert (figures.buyers.previous, figures.repeat.previous) == (1, 0)
    assert figures.repeat.points == pytest.approx(75)


def test_money_is_of_the_currency_with_most_revenue_and_the_rest_is_told():
    ada = make_customer()
    make_order(ada, total_minor=5000, at=ago(1))
    make_order(ada, total_minor=9000, at=ago(1), currency="CHF")
    make_order(ada, total_minor=90_000, at=ago(8))

    figures = figures_of(PERIOD)

    assert figures.currency == "CHF"
    assert figures.revenue.value == 9000
    assert figures.other_currencies == {"EUR": 5000}
    assert figures.orders.value == 2


def test_revenue_after_messages_adds_up_conversions_of_the_period():
    ada = make_customer(email="ada@x.example", consents=("email",))
    campaign = launch(make_campaign())
    message = campaign.messages.get()
    for days, minor in ((1, 3000), (2, 1500), (8, 700)):
        event = make_event(ada, "Order Completed", at=ago(days))
        Conversion.objects.create(
            campaign=campaign,
            message=message,
            event=event,
            revenue_minor=minor,
            currency="EUR",
            occurred_at=ago(days),
        )

    figures = figures_of(PERIOD)

    assert (figures.attributed.value, figures.attributed.previous) == (4500, 700)
    assert figures.attributed_orders == 2


def test_an_empty_period_has_no_change_and_no_rate():
    figures = figures_of(PERIOD)
    assert figures.currency == "EUR"
    assert (figures.revenue.value, figures.revenue.change) == (0, None)
    assert (figures.repeat.value, figures.repeat.points) == (None, None)
    assert figures.by_channel == {}


def test_stores_show_today_and_the_period_even_when_they_sold_nothing():
    brera, monti = make_store(name="Brera"), make_store(name="Monti")
    ada = make_customer()
    make_order(ada, total_minor=1000, at=ago(0), store=brera)
    make_order(ada, total_minor=2000, at=ago(3), store=brera)
    make_order(ada, total_minor=4000, at=ago(8), store=monti)
    make_order(ada, total_minor=8000, at=ago(0), store=monti, currency="CHF")

    first, second = sales_by_store(PERIOD, "EUR")

    assert (first.name, first.orders_today, first.revenue_today) == ("Brera", 1, 1000)
    assert (first.orders, first.revenue) == (2, 3000)
    assert (second.name, second.orders, second.revenue) == ("Monti", 0, 0)
