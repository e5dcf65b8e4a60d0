"""Whom a channel reaches: one statement for eight people or for everybody, judged by plain Python."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils.timezone import now
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from customers.addresses import address_hash
from customers.contact import best, contacts_params, contacts_sql, count_reachable
from customers.models import Channel, ConsentEvent, Customer, Identifier, Suppression

pytestmark = pytest.mark.django_db

KINDS = {"email": "email", "sms": "phone"}
MOMENT = now()

address = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["email", "phone", "card"]),
        "verified_at": st.sampled_from([None, MOMENT, MOMENT - timedelta(days=1)]),
        "blocked": st.booleans(),
    }
)
statement = st.tuples(st.sampled_from(["email", "sms"]), st.sampled_from(["granted", "denied", "revoked"]))
person = st.fixed_dictionaries(
    {"addresses": st.lists(address, max_size=5), "statements": st.lists(statement, max_size=3)}
)


def asked(people: str, channels: list[str]) -> set[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(contacts_sql(people), contacts_params(channels))
        rows = cursor.fetchall()
    assert len(rows) == len(set(rows)), "somebody is there twice"
    return set(rows)


def expected(customer: Customer, channel: str) -> tuple[Any, ...]:
    """By the rule as a person would say it."""
    said = (
        ConsentEvent.objects.filter(customer=customer, channel=channel).order_by("effective_at", "id").last()
    )
    value = best(customer.identifiers.all(), KINDS[channel])
    blocked = Suppression.objects.filter(channel=channel, address_hash=address_hash(value)).first()
    is_asked = bool(value and said and said.state == "granted")
    return (
        customer.pk,
        channel,
        value or None,
        said.state if said else None,
        blocked.reason if blocked and is_asked else None,
    )


def write(drawn: dict[str, Any]) -> None:
    customer = Customer.objects.create()
    for number, one in enumerate(drawn["addresses"]):
        value = f"{customer.pk}.{number}"
        Identifier.objects.create(
            customer=customer, kind=one["kind"], value=value, verified_at=one["verified_at"]
        )
        for channel, kind in KINDS.items():
            if one["blocked"] and one["kind"] == kind:
                Suppression.objects.create(channel=channel, address_hash=address_hash(value), reason="manual")
    for number, (channel, state) in enumerate(drawn["statements"]):
        at: datetime = MOMENT - timedelta(days=number)
        ConsentEvent.objects.create(
            customer=customer, channel=channel, state=state, source="test", effective_at=at
        )


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(people=st.lists(person, min_size=1, max_size=4))
def test_everybody_is_reached_at_the_address_and_under_the_consent_they_gave(people):
    Customer.objects.all().delete()
    for drawn in people:
        write(drawn)
    everybody = list(Customer.objects.prefetch_related("identifiers"))
    wanted = {expected(one, channel) for one in everybody for channel in KINDS}
    assert asked("customers_customer", list(KINDS)) == wanted
    assert asked("customers_customer", ["sms"]) == {one for one in wanted if one[1] == "sms"}
    some = f"(SELECT id FROM customers_customer WHERE id <= {everybody[0].pk})"
    assert asked(some, list(KINDS)) == {one for one in wanted if one[0] <= everybody[0].pk}
    counted = count_reachable("customers_customer", {}, list(Channel.values))
    for channel in KINDS:
        can = [one for one in wanted if one[1] == channel and one[2] and one[3] == "granted" and not one[4]]
        assert counted[channel] == len(can)


def test_nobody_is_asked_of_a_channel_that_is_not_wanted():
    Customer.objects.create()
    assert asked("customers_customer", []) == set()


def plan(people: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {contacts_sql(people)}", contacts_params(["email", "sms"]))
        return "\n".join(row[0] for row in cursor.fetchall())


def test_a_few_people_are_found_by_index_however_many_there_are():
    Customer.objects.bulk_create(Customer(first_name=str(n)) for n in range(3000))
    people = list(Customer.objects.all())
    Identifier.objects.bulk_create(
        Identifier(customer=one, kind=kind, value=f"{kind}{one.pk}")
        for one in people
        for kind in ("email", "phone", "card")
    )
    ConsentEvent.objects.bulk_create(
        ConsentEvent(customer=one, channel=channel, state="granted", source="test")
        for one in people
        for channel in ("email", "sms")
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE customers_customer, customers_identifier, customers_consent")
    ids = ", ".join(str(one.pk) for one in people[:8])
    said = plan(f"(SELECT id FROM customers_customer WHERE id IN ({ids}))")
    assert "identifier_of_customer" in said
    for table in ("customers_identifier", "customers_consent"):
        assert f"Seq Scan on {table}" not in said
