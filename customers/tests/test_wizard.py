import csv
import io
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from core.tests.factories import make_user
from customers.imports import CUSTOMERS, jobs
from customers.models import ConsentEvent, Customer, ImportJob

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
HEADER = "Codice cliente;E-mail;Consenso email;Note\n"
FILE = f"{HEADER}C1;anna@example.it;sì;=1+1\nC2;bad;sì;+39\nC3;eva@example.it;no;x\n"


@pytest.fixture
def marketer(client: Client) -> Client:
    client.force_login(make_user(role="marketer"))
    return client


def upload(client: Client, text: str = FILE) -> ImportJob:
    file = SimpleUploadedFile("people.csv", text.encode(), content_type="text/csv")
    answer = client.post(reverse("customers:import"), {"file": file})
    assert answer.status_code == 302, answer.context["form"].errors
    return ImportJob.objects.latest("pk")


def choose(client: Client, job: ImportJob, **answers: str) -> Any:
    columns = job.dialect["columns"]
    data = {f"column_{index}": job.mapping.get(column, "") for index, column in enumerate(columns)}
    return client.post(reverse("customers:import_job", args=[job.pk]), data | answers)


def test_a_file_goes_from_upload_to_result(marketer: Client, django_capture_on_commit_callbacks):
    job = upload(marketer)
    page = marketer.get(reverse("customers:import_job", args=[job.pk])).content.decode()
    assert "Codice cliente" in page
    assert "anna@example.it" in page

    assert choose(marketer, job, consent_source="till form").status_code == 302
    check = marketer.get(reverse("customers:import_check", args=[job.pk]), headers=HTMX)
    assert "Import 3 rows" in check.content.decode()
    assert not Customer.objects.exists()

    assert marketer.post(reverse("customers:import_start", args=[job.pk])).status_code == 302
    waiting = marketer.get(reverse("customers:import_job", args=[job.pk]))
    assert "Waiting for a worker" in waiting.content.decode()
    assert 'hx-trigger="every 1s"' in waiting.content.decode()

    jobs.run_import(job.pk, importer=CUSTOMERS)
    result = marketer.get(reverse("customers:import_job", args=[job.pk]), headers=HTMX).content.decode()
    assert "The import is done" in result
    assert "every 1s" not in result
    assert "<html" not in result
    job.refresh_from_db()
    assert (job.created, job.rejected) == (2, 1)
    assert ConsentEvent.objects.filter(source="till form").count() == 2


def test_the_rejected_rows_come_back_with_their_reason_and_no_formula(marketer: Client):
    job = upload(marketer, FILE.replace("C2;bad;sì;+39", "C2;=cmd();sì;@SUM(A1)"))
    choose(marketer, job, consent_source="till form")
    marketer.post(reverse("customers:import_start", args=[job.pk]))
    jobs.run_import(job.pk, importer=CUSTOMERS)

    answer = marketer.get(reverse("customers:import_rejected", args=[job.pk]))
    text = b"".join(answer.streaming_content).decode("utf-8-sig")

    assert answer["Content-Disposition"] == f'attachment; filename="rejected-{job.pk}.csv"'
    header, row = list(csv.reader(io.StringIO(text)))
    assert header == ["line", "reason", "Codice cliente", "E-mail", "Consenso email", "Note"]
    assert row == ["3", "E-mail: “=cmd()” is not an e-mail address.", "C2", "'=cmd()", "sì", "'@SUM(A1)"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"PK\x03\x04....", "damaged"),
        (b"\xd0\xcf\x11\xe0....", "old Excel"),
        (b"%PDF-1.4", "PDF"),
        (b"\x00\x01\x02\x03" * 500, "not a text file"),
    ],
)
def test_what_is_no_table_is_refused_where_the_file_was_chosen(marketer, content: bytes, message: str):
    answer = marketer.post(reverse("customers:import"), {"file": SimpleUploadedFile("x.csv", content)})

    assert answer.status_code == 422
    assert message in str(answer.context["form"].errors["file"])
    assert not ImportJob.objects.exists()


def test_a_file_beyond_the_limit_is_refused(marketer: Client, settings):
    settings.IMPORT_MAX_BYTES = 10

    answer = marketer.post(reverse("customers:import"), {"file": SimpleUploadedFile("x.csv", b"email\n" * 9)})

    assert answer.status_code == 422
    assert "can be imported at once" in str(answer.context["form"].errors["file"])


def test_a_mapping_that_cannot_work_is_refused_and_the_file_kept(marketer: Client):
    job = upload(marketer)

    nobody = choose(marketer, job, column_0="", column_1="")
    assert nobody.status_code == 422
    assert "No column says who the customer is" in nobody.content.decode()
    double = choose(marketer, job, column_1="user_id")
    assert "chosen for more than one column: Codice cliente, E-mail" in double.content.decode()
    unknown = choose(marketer, job, column_1="is_staff")
    assert unknown.status_code == 422
    job.refresh_from_db()
    assert job.status == "draft"
    assert job.file.storage.exists(job.file.name)


def test_consents_without_a_source_have_no_proof_and_are_not_taken(marketer: Client):
    answer = choose(marketer, upload(marketer))

    assert answer.status_code == 422
    assert "A consent needs its proof" in answer.content.decode()


def test_a_draft_can_be_thrown_away(marketer: Client, django_capture_on_commit_callbacks):
    job = upload(marketer)

    with django_capture_on_commit_callbacks(execute=True):
        marketer.post(reverse("customers:import_discard", args=[job.pk]))

    assert not ImportJob.objects.exists()
    assert not job.file.storage.exists(job.file.name)


def test_a_second_start_is_harmless(marketer: Client):
    job = upload(marketer)
    choose(marketer, job, consent_source="till form")
    url = reverse("customers:import_start", args=[job.pk])

    assert [marketer.post(url).status_code for _ in range(2)] == [302, 302]
    assert marketer.get(reverse("customers:import_check", args=[job.pk])).status_code == 302
    assert choose(marketer, job, consent_source="x").status_code == 302
    job.refresh_from_db()
    assert job.status == "queued"


def test_a_file_that_is_gone_is_said_so(marketer: Client):
    job = upload(marketer)
    job.file.storage.delete(job.file.name)

    answer = marketer.get(reverse("customers:import_job", args=[job.pk]), follow=True)

    assert "no longer there" in answer.content.decode()


def test_the_list_of_imports_shows_every_file(marketer: Client, django_assert_num_queries):
    for _ in range(3):
        upload(marketer)

    with django_assert_num_queries(4):  # Session, person, last seen, jobs.
        page = marketer.get(reverse("customers:imports"))
    assert page.content.decode().count("people.csv") == 3


@pytest.mark.parametrize(("role", "code"), [("marketer", 200), ("analyst", 403), ("store_manager", 403)])
def test_who_may_import_customers(client: Client, role: str, code: int):
    client.force_login(make_user(role=role))

    assert client.get(reverse("customers:import")).status_code == code
    assert client.get(reverse("customers:imports")).status_code == code
