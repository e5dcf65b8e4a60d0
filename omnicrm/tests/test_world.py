"""The world every measurement at a million customers stands on, at two thousand."""

import pytest
from django.db import connection

from bench import world
from customers.models import ConsentEvent, Customer, Event, Identifier, Suppression
from omnicrm.invariants import check_invariants
from orders.models import Order


def fingerprint() -> list[tuple]:
    asked = (
        "SELECT 'customers', md5(string_agg(id || first_name || country || traits::text, ',' ORDER BY id))"
        " FROM customers_customer UNION ALL"
        " SELECT 'events', md5(string_agg(customer_id || name || properties::text, ',' ORDER BY id))"
        " FROM customers_event ORDER BY 1"
    )
    with connection.cursor() as cursor:
        cursor.execute(asked)
        return cursor.fetchall()


def indexes() -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1")
        return cursor.fetchall()


@pytest.fixture(autouse=True)
def no_world(transactional_db):
    """The database does not say it is one: between two tests only the rows go."""
    with connection.cursor() as cursor:
        name = connection.ops.quote_name(connection.settings_dict["NAME"])
        cursor.execute(f"COMMENT ON DATABASE {name} IS NULL")


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_world_follows_from_its_seed_and_keeps_every_promise():
    before = indexes()
    assert world.build(2_000, 10_000)
    first = fingerprint()
    assert not world.build(2_000, 10_000)  # It is there.
    assert Customer.objects.count() == 2_000
    assert Event.objects.count() == 10_000
    assert 0.17 < Order.objects.count() / 10_000 < 0.23
    assert 0.9 < Identifier.objects.filter(kind="email").count() / 2_000 < 1.1
    assert ConsentEvent.objects.filter(state="revoked").exists()
    assert Suppression.objects.exists()
    assert [finding.invariant.code for finding in check_invariants() if finding.count] == []
    assert indexes() == before

    assert world.build(2_000, 10_000, seed=2)
    assert fingerprint() != first
    assert world.build(2_000, 10_000, seed=1)
    assert fingerprint() == first


@pytest.mark.django_db(transaction=True)
def test_a_database_with_customers_is_never_made_into_a_world():
    Customer.objects.create()
    with pytest.raises(SystemExit, match="has customers and is no world"):
        world.build(100, 100)
