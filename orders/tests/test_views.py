from datetime import UTC, datetime

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from core.tests.factories import make_user
from customers.models import ImportJob
from customers.tests.factories import make_customer
from inventory.tests.factories import make_store
from orders.figures import figures_of
from orders.models import Order
from orders.tasks import run_import
from orders.tests.factories import make_order

pytestmark = pytest.mark.django_db


def at(day: int, month: int = 1) -> datetime:
    return datetime(2024, month, day, 12, tzinfo=UTC)


def test_figures_add_up_over_channels():
    anna = make_customer()
    make_order(anna, total_minor=10_00, at=at(1), channel="web")
    make_order(anna, total_minor=20_00, at=at(11), channel="store")
    make_order(anna, total_minor=60_00, at=at(21), channel="web")
    make_order(anna, total_minor=99_00, at=at(22), status="cancelled")

    figures = figures_of(anna.pk)

    assert (figures.orders, figures.value_minor, figures.average_minor) == (3, 90_00, 30_00)
    assert figures.by_channel == [("web", 2), ("store", 1)]
    assert figures.days_between == 10
    assert figures.last_at == at(21)


def test_money_of_two_currencies_is_never_added():
    anna = make_customer()
    make_order(anna, total_minor=10_00)
    make_order(anna, total_minor=10_00)
    make_order(anna, total_minor=5_00, currency="USD")

    figures = figures_of(anna.pk)

    assert (figures.currency, figures.value_minor, figures.other_currencies) == ("EUR", 20_00, ["USD"])


def test_nothing_bought_is_nothing_not_an_error():
    assert figures_of(make_customer().pk).orders == 0


def test_the_orders_of_a_customer_are_a_page_of_their_own(client: Client):
    anna = make_customer(first_name="Anna")
    order = make_order(anna, total_minor=123_45)
    client.force_login(make_user())

    answer = client.get(reverse("orders:of_customer", args=[anna.public_id]))

    assert answer.status_code == 200
    assert order.number in answer.content.decode()
    assert "€123.45" in answer.content.decode()


def test_a_clerk_does_not_see_the_orders_of_another_stores_customer(client: Client):
    mine, theirs = make_store(), make_store()
    client.force_login(make_user(role="store_clerk", stores=[mine]))
    stranger, regular = make_customer(home_store=theirs), make_customer(home_store=mine)

    assert client.get(reverse("orders:of_customer", args=[stranger.public_id])).status_code == 404
    assert client.get(reverse("orders:of_customer", args=[regular.public_id])).status_code == 200


@pytest.mark.parametrize(("role", "code"), [("marketer", 200), ("analyst", 403), ("store_clerk", 403)])
def test_who_may_import_orders(client: Client, role: str, code: int):
    client.force_login(make_user(role=role))

    assert client.get(reverse("orders:import")).status_code == code


def test_an_order_file_goes_through_the_wizard(client: Client):
    make_customer(email="anna@example.it")
    client.force_login(make_user(role="marketer"))
    table = b"ordine;email;data;totale\nA1;anna@example.it;01/02/2024;10,50\n"
    client.post(reverse("orders:import"), {"file": SimpleUploadedFile("orders.csv", table)})
    job = ImportJob.objects.get()
    url = reverse("orders:import_job", args=[job.pk])
    columns = {f"column_{i}": job.mapping[name] for i, name in enumerate(job.dialect["columns"])}

    assert client.post(url, columns | {"source": "no spaces", "currency": "EUR"}).status_code == 422
    assert client.post(url, columns | {"source": "shop", "currency": "EUR"}).status_code == 302
    check = client.get(reverse("orders:import_check", args=[job.pk]) + "?result")
    assert "Import 1 row" in check.content.decode()
    client.post(reverse("orders:import_start", args=[job.pk]))
    run_import(job.pk)

    order = Order.objects.get()
    assert (order.source, order.total_minor, order.currency) == ("shop", 1050, "EUR")
    assert "The import is done" in client.get(url).content.decode()
    assert client.get(reverse("customers:import_job", args=[job.pk])).status_code == 404
