from pathlib import Path
from typing import Any

import pytest

from customers.imports import jobs
from customers.models import Customer, Event, Identifier, ImportJob
from customers.tests.factories import make_customer
from inventory.tests.factories import make_store
from orders.imports import ORDERS
from orders.models import Order

pytestmark = pytest.mark.django_db

CDNOW = """order_number,customer_id,placed_on,quantity,total,currency,channel
CDNOW-000001,00001,1997-01-01,1,11.77,USD,web
CDNOW-000002,00002,1997-01-12,1,12.00,USD,web
CDNOW-000003,00002,1997-01-13,5,0.00,USD,web
"""


@pytest.fixture
def bring(tmp_path: Path):
    """Imports a text as a file of orders, its columns as suggested."""

    def bring(text: str, **options: Any) -> ImportJob:
        path = tmp_path / "orders.csv"
        path.write_text(text, encoding="utf-8")
        return jobs.import_path(path, importer=ORDERS, options=options)

    return bring


def numbered(number: str, **fields: Any) -> Customer:
    customer = make_customer(**fields)
    Identifier.objects.create(customer=customer, kind="user_id", value=number)
    return customer


def counts(job: ImportJob) -> tuple[int, int, int, int]:
    assert job.status == ImportJob.Status.DONE, job.error
    found = (job.created, job.updated, job.unchanged, job.rejected)
    assert sum(found) == job.rows
    return found


def reason(job: ImportJob) -> str:
    return job.rejections.get().reason


def test_the_real_file_goes_in_as_it_is_and_each_order_is_an_event(bring):
    numbered("00001")
    second = numbered("00002")

    assert counts(bring(CDNOW)) == (3, 0, 0, 0)

    order = Order.objects.get(number="CDNOW-000002")
    assert (order.customer, order.total_minor, order.currency, order.quantity) == (second, 1200, "USD", 1)
    event = Event.objects.get(source="orders:import", key="CDNOW-000002")
    assert (event.name, event.customer, event.channel) == ("Order Completed", second, "web")
    assert event.occurred_at == order.placed_at
    assert event.order_ref == "CDNOW-000002"
    assert event.properties == {"total_minor": 1200, "currency": "USD", "quantity": 1}
    second.refresh_from_db()
    assert second.last_seen_at == Order.objects.get(number="CDNOW-000003").placed_at


def test_a_rerun_creates_and_updates_nothing(bring):
    numbered("00001")
    numbered("00002")
    bring(CDNOW)

    assert counts(bring(CDNOW)) == (0, 0, 3, 0)
    assert Event.objects.count() == 3


def test_a_corrected_order_is_updated_and_the_log_says_so(bring):
    numbered("00001")
    numbered("00002")
    bring(CDNOW)

    assert counts(bring(CDNOW.replace("12.00", "13.50"))) == (0, 1, 2, 0)
    assert Order.objects.get(number="CDNOW-000002").total_minor == 1350
    names = Event.objects.filter(order_ref="CDNOW-000002").order_by("id").values_list("name", flat=True)
    assert list(names) == ["Order Completed", "Order Updated"]


def test_an_order_number_twice_in_a_file_is_one_order(bring):
    numbered("00001")
    text = "order number,customer id,date,total\nA1,00001,2024-01-01,5\nA1,00001,2024-01-01,6\n"

    assert counts(bring(text)) == (1, 1, 0, 0)
    assert Order.objects.get().total_minor == 600
    assert counts(bring(text)) == (0, 0, 2, 0)


def test_the_same_number_of_two_systems_is_two_orders(bring):
    numbered("00001")
    text = "order number,customer id,date,total\n1,00001,2024-01-01,5\n"

    bring(text, source="till")
    bring(text, source="shop")

    assert set(Order.objects.values_list("source", flat=True)) == {"till", "shop"}
    assert set(Event.objects.values_list("source", flat=True)) == {"orders:till", "orders:shop"}


def test_a_customer_is_found_by_mail_and_by_phone_too(bring):
    make_customer(email="anna@example.it", phone="+393475550101")

    rows = "A1;ANNA@example.it;;01/02/2024;10,50\nA2;;347 555 0101;01/02/2024;1.000,00\n"
    job = bring(f"order;email;phone;data;totale\n{rows}")

    assert counts(job) == (2, 0, 0, 0)
    assert list(Order.objects.order_by("number").values_list("total_minor", flat=True)) == [1050, 100000]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("A1,99999,2024-01-01,5,EUR,web,", "There is no customer with 99999."),
        ("A1,00001,2024-01-01,-5,EUR,web,", "total: “-5” is negative."),
        ("A1,00001,2024-02-31,5,EUR,web,", "date: “2024-02-31” is a date that does not exist."),
        ("A1,00001,2999-01-01,5,EUR,web,", "date: “2999-01-01” lies in the future."),
        ("A1,00001,2024-01-01,5,XYZ,web,", "currency: “XYZ” is not a currency code like EUR."),
        ("A1,00001,2024-01-01,5,EUR,fax,", "channel: “fax” is not a channel: web, store, app or phone."),
        ("A1,00001,2024-01-01,5,EUR,store,Atlantis", "store: There is no store “Atlantis”."),
        (",00001,2024-01-01,5,EUR,web,", "The order number is empty."),
        ("A1,00001,,5,EUR,web,", "The date is empty."),
        ("A1,00001,2024-01-01,,EUR,web,", "The total is empty."),
        ("A1,,2024-01-01,5,EUR,web,", "The row names no customer: every identifier is empty."),
    ],
)
def test_what_is_no_order_is_refused_with_its_reason(bring, row: str, why: str):
    numbered("00001")

    job = bring(f"order number,customer id,date,total,currency,channel,store\n{row}\n")

    assert counts(job) == (0, 0, 0, 1)
    assert reason(job) == why
    assert not Order.objects.exists()


def test_an_order_never_moves_to_another_customer(bring):
    numbered("00001")
    numbered("00002")
    bring(CDNOW)

    job = bring(CDNOW.replace("CDNOW-000001,00001", "CDNOW-000001,00002"))

    assert job.rejected == 1
    assert reason(job) == "Order CDNOW-000001 belongs to another customer."


def test_a_store_is_found_by_code_or_name_and_makes_it_a_store_order(bring):
    brera = make_store(code="brera", name="Milano Brera")
    numbered("00001")
    header = "order number,customer id,date,total,store\n"

    bring(header + "A1,00001,2024-01-01,5,BRERA\nA2,00001,2024-01-02,5,Milano brera\n")

    assert set(Order.objects.values_list("store", "channel")) == {(brera.pk, "store")}
    assert set(Event.objects.values_list("store", "channel")) == {(brera.pk, "store")}


def test_an_older_order_does_not_make_a_customer_seen_less_lately(bring):
    anna = numbered("00001")
    header = "order number,customer id,date,total\n"
    bring(header + "A2,00001,2024-05-01,5\n")
    anna.refresh_from_db()
    seen = anna.last_seen_at

    bring(header + "A1,00001,2024-01-01,5\n")

    anna.refresh_from_db()
    assert anna.last_seen_at == seen


def test_a_file_without_a_total_is_refused_as_a_whole(bring):
    from core.errors import DomainError

    with pytest.raises(DomainError, match="No column is chosen for: Total"):
        bring("order number,customer id,date\nA1,00001,2024-01-01\n")


def test_the_command_says_what_became_of_each_row(tmp_path):
    import io

    from django.core.management import CommandError, call_command

    numbered("00001")
    path = tmp_path / "orders.csv"
    path.write_text(CDNOW)
    out = io.StringIO()

    call_command("import_orders", str(path), "--source", "shop", stdout=out)

    assert "3 rows = 1 created + 0 updated + 0 unchanged + 2 rejected" in out.getvalue()
    assert "line 3: There is no customer with 00002." in out.getvalue()
    assert Order.objects.get().source == "shop"
    with pytest.raises(CommandError, match="not a currency"):
        call_command("import_orders", str(path), "--currency", "XXQ", stdout=out)
