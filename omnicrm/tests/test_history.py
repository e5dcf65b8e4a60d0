"""The history of things core knows nothing of."""

import pytest
from django.test import Client

from core.history import acting, read_history
from core.roles import Role
from core.tests.factories import make_user
from customers.tests.factories import make_customer
from inventory import services
from inventory.tests.factories import make_store

pytestmark = pytest.mark.django_db


def test_every_change_to_a_customer_says_what_it_was_the_first_included():
    """Customers keep the values that were replaced, so no row is needed for their creation."""
    editor, other = make_user(name="Sara Neri"), make_user(name="Luca Ferri")
    brera, duomo = make_store(name="Brera"), make_store(name="Duomo")
    customer = make_customer(first_name="Chiara", home_store=brera, traits={"size": "M", "vip": False})
    customer.first_name, customer.home_store = "Clara", duomo
    with acting(editor):
        customer.save()
    customer.traits = {"size": "L", "vip": True}
    with acting(other):
        customer.save()

    [second, first] = read_history(reader=editor, kind="customers.customer", pk=customer.pk)[0]

    assert (first.by, second.by) == ("Sara Neri", "Luca Ferri")
    assert first.name == "Clara"
    assert {(c.label, c.before, c.after) for c in first.changes} == {
        ("First name", "Chiara", "Clara"),
        ("Home store", "Brera", "Duomo"),
    }
    assert {(c.label, c.before, c.after) for c in second.changes} == {
        ("Traits: size", "M", "L"),
        ("Traits: vip", "No", "Yes"),
    }


def test_who_gave_whom_a_store_is_told():
    administrator, clerk = make_user(name="Giulia"), make_user(name="Luca", role=Role.STORE_CLERK)
    brera, duomo = make_store(name="Brera"), make_store(name="Duomo")

    services.assign_stores(clerk.pk, stores=[brera, duomo], by=administrator)
    services.assign_stores(clerk.pk, stores=[duomo], by=administrator)

    entries, _ = read_history(reader=administrator, kind="inventory.workplace")
    assert [entry.action for entry in entries] == ["Removed", "Created", "Created"]
    assert entries[0].by == "Giulia"
    assert set(entries[0].name.split(", ")) == {"Brera", "Luca"}


def test_store_staff_read_the_history_of_their_customers_only():
    brera, duomo = make_store(), make_store()
    clerk = make_user(role=Role.STORE_CLERK, stores=[brera])
    mine, theirs = make_customer(home_store=brera), make_customer(home_store=duomo)
    client = Client()
    client.force_login(clerk)

    assert client.get(f"/history/customers.customer/{mine.pk}/").status_code == 200
    assert client.get(f"/history/customers.customer/{theirs.pk}/").status_code == 404
    assert client.get("/history/campaigns.campaign/1/").status_code == 403
