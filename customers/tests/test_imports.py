import io
import re
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.utils.timezone import now

from core.errors import DomainError
from core.tests.factories import make_user
from customers import services
from customers.imports import CUSTOMERS, chunks, commands, jobs, runner
from customers.imports.progress import clock, time_left
from customers.models import Consent, ConsentEvent, Customer, Event, Identifier, ImportJob
from customers.tests.factories import make_customer
from inventory.tests.factories import make_store

pytestmark = pytest.mark.django_db

HEADER = "customer_id,email,phone,language,country,signed_up_on,email_marketing,sms_marketing,"
CDNOW = f"""{HEADER}consent_source,consent_on
00001,buyer00001@cdnow.example,,en,US,1997-01-01,yes,no,checkout form 1997,1997-01-01
00002,buyer00002@cdnow.example,+15865550189,en,US,1997-01-12,no,no,checkout form 1997,1997-01-12
00003,buyer00003@cdnow.example,,en,US,1997-01-02,yes,no,checkout form 1997,1997-01-02
"""


@pytest.fixture
def bring(tmp_path: Path):
    """Imports a text as a file, its columns as suggested."""

    def bring(text: str, *, name: str = "people.csv", **options: Any) -> ImportJob:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return jobs.import_path(path, importer=CUSTOMERS, options=options)

    return bring


def counts(job: ImportJob) -> tuple[int, int, int, int]:
    """Created, updated, unchanged, rejected of a finished job, which sum to its rows."""
    assert job.status == ImportJob.Status.DONE, job.error
    found = (job.created, job.updated, job.unchanged, job.rejected)
    assert sum(found) == job.rows
    return found


def reasons(job: ImportJob) -> dict[int, str]:
    return dict(job.rejections.values_list("line", "reason"))


def test_the_real_file_goes_in_as_it_is(bring):
    job = bring(CDNOW, name="cdnow_customers.csv")

    assert counts(job) == (3, 0, 0, 0)
    second = Customer.objects.get(identifiers__kind="user_id", identifiers__value="00002")
    assert (second.language, second.country, second.status) == ("en", "US", "known")
    assert second.created_at.isoformat() == "1997-01-11T23:00:00+00:00"
    assert set(second.identifiers.values_list("kind", "value")) == {
        ("user_id", "00002"),
        ("email", "buyer00002@cdnow.example"),
        ("phone", "+15865550189"),
    }


def test_consents_come_with_their_proof(bring):
    bring(CDNOW, name="cdnow_customers.csv")

    first = Customer.objects.get(identifiers__value="00001")
    said = ConsentEvent.objects.get(customer=first, channel="email")
    assert (said.state, said.source, said.purpose) == ("granted", "checkout form 1997", "marketing")
    assert said.evidence == "cdnow_customers.csv, line 2"
    assert said.effective_at.isoformat() == "1996-12-31T23:00:00+00:00"
    assert dict(Consent.objects.filter(customer=first).values_list("channel", "state")) == {
        "email": "granted",
        "sms": "denied",
    }


def test_each_new_customer_is_one_event(bring):
    bring(CDNOW)

    found = Event.objects.filter(name="Customer Imported")
    assert found.count() == 3
    assert found.get(customer__identifiers__value="00001").properties == {
        "file": "people.csv",
        "line": 2,
        "consents": {"email": "granted", "sms": "denied"},
    }


def test_a_rerun_creates_and_updates_nothing(bring):
    bring(CDNOW)
    before = (ConsentEvent.objects.count(), Event.objects.count(), Identifier.objects.count())

    assert counts(bring(CDNOW)) == (0, 0, 3, 0)
    assert (ConsentEvent.objects.count(), Event.objects.count(), Identifier.objects.count()) == before


def test_the_result_does_not_depend_on_the_size_of_the_chunks(bring, monkeypatch):
    text = "customer_id,email,first name\n" + "".join(
        f"{n % 7},person{n % 7}@example.it,Name {n % 3}\n" for n in range(1, 60)
    )
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 4)

    job = bring(text)

    assert job.created == 6  # Number 0 is what broken systems write.
    assert job.rejected == 8
    assert Customer.objects.count() == 6


def test_a_person_who_stands_twice_in_the_file_is_created_once(bring):
    job = bring("email,first name\nanna@example.it,Anna\nANNA@example.it ,Annalisa\nanna@example.it,\n")

    assert counts(job) == (1, 1, 1, 0)
    assert Customer.objects.get().first_name == "Annalisa"
    rerun = bring("email,first name\nanna@example.it,Anna\nANNA@example.it ,Annalisa\nanna@example.it,\n")
    assert counts(rerun) == (0, 0, 3, 0)


def test_rows_find_their_customer_through_each_others_identifiers(bring):
    job = bring(
        "customer_id,email,phone\nC1,anna@example.it,\n,anna@example.it,3475550101\n,,+393475550101\n"
    )

    assert counts(job) == (1, 1, 1, 0)
    assert Customer.objects.get().identifiers.count() == 3


def test_a_cell_that_says_something_wins_and_an_empty_one_erases_nothing(bring):
    store = make_store(code="brera", name="Milano Brera")
    known = make_customer(email="anna@example.it", first_name="Anna", city="Milano", traits={"size": "M"})

    job = bring("email,first name,city,store\nanna@example.it,Annalisa,,brera\n")

    assert counts(job) == (0, 1, 0, 0)
    known.refresh_from_db()
    assert (known.first_name, known.city, known.home_store) == ("Annalisa", "Milano", store)
    assert known.traits == {"size": "M"}


def test_two_known_customers_are_never_merged_by_a_file(bring):
    make_customer(email="anna@example.it")
    make_customer(phone="+393475550101")

    job = bring("email,phone,first name\nanna@example.it,+393475550101,Anna\n")

    assert counts(job) == (0, 0, 0, 1)
    assert reasons(job) == {
        2: "The identifiers belong to different customers: anna@example.it / +393475550101."
    }
    assert not Customer.objects.filter(first_name="Anna").exists()


def test_a_shared_mailbox_does_not_make_two_customer_numbers_one_person(bring):
    job = bring("customer_id,email\nC1,home@example.it\nC2,home@example.it\n")

    assert counts(job) == (1, 0, 0, 1)
    assert reasons(job) == {3: "home@example.it belongs to customer number C1."}


def test_an_anonymous_profile_becomes_known(bring):
    profile = make_customer(email="anna@example.it", status="anonymous")

    assert counts(bring("email,customer_id\nanna@example.it,C1\n")) == (0, 1, 0, 0)
    profile.refresh_from_db()
    assert profile.status == "known"


def test_every_bad_row_is_kept_with_its_line_and_reason(bring):
    rows = [
        "null,,,,,",
        "C1,not an address,,,,",
        "C2,,12,,,",
        "C3,,,31/02/1990,,",
        "C4,,,,Narnia,",
        "C5,,,,,maybe",
        f"C6,,,,,yes,{'x'}",
        ",,,,,",
        f"{'9' * 255},,,,,",
    ]
    job = bring("customer_id,email,phone,birth date,country,newsletter\n" + "\n".join(rows) + "\n")

    assert counts(job) == (0, 0, 0, 9)
    found = reasons(job)
    assert found[2] == "customer_id: “null” is not an identifier."
    assert found[3] == "email: “not an address” is not an e-mail address."
    assert found[4] == "phone: “12” is not a phone number."
    assert found[5] == "birth date: “31/02/1990” is a date that does not exist."
    assert found[6] == "country: “Narnia” is not a country."
    assert found[7] == "newsletter: “maybe” is neither yes nor no."
    assert found[8] == "The row has 7 cells, the header has 6."
    assert found[9] == "The row is empty."
    assert found[10].endswith("at most 254 characters.")
    assert job.rejections.get(line=4).raw == ["C2", "", "12", "", "", ""]


def test_a_row_without_any_identifier_is_refused(bring):
    assert reasons(bring("email,city\n,Roma\n")) == {
        2: "The row names no customer: every identifier is empty."
    }


def test_a_phone_is_read_by_the_country_of_its_row(bring):
    bring("phone,country\n347 555 0101,IT\n(586) 555-0189,US\n", country="FR")

    assert set(Identifier.objects.values_list("value", flat=True)) == {"+393475550101", "+15865550189"}


def test_the_newest_statement_wins_whatever_the_order_of_the_files(bring):
    bring("email,newsletter,consent on\nanna@example.it,yes,2024-03-01\n")

    older = bring("email,newsletter,consent on\nanna@example.it,no,2023-01-01\n")
    assert counts(older) == (0, 0, 1, 0)
    assert Consent.objects.get().state == "granted"

    newer = bring("email,newsletter,consent on\nanna@example.it,no,2024-06-01\n")
    assert counts(newer) == (0, 1, 0, 0)
    assert Consent.objects.get().state == "revoked"
    changed = Event.objects.get(name="Consent Changed")
    assert (changed.channel, changed.properties["state"]) == ("email", "revoked")


def test_an_old_file_without_dates_never_lifts_a_refusal(bring):
    anna = make_customer(email="anna@example.it", consents=("email",))
    services.record_consent(anna.pk, channel="email", state="revoked", source="unsubscribe link")

    assert counts(bring("email,newsletter\nanna@example.it,yes\n")) == (0, 0, 1, 0)
    assert Consent.objects.get().state == "revoked"


def test_at_one_moment_the_stricter_statement_stands_and_a_rerun_adds_nothing(bring):
    text = "email,newsletter,consent on\nanna@example.it,no,2024-03-01\nanna@example.it,yes,2024-03-01\n"

    bring(text)
    bring(text)

    assert Consent.objects.get().state == "denied"
    assert ConsentEvent.objects.count() == 1


def test_a_consent_from_the_future_is_refused_for_it_would_outlast_every_withdrawal(bring):
    job = bring("email,newsletter,consent on\nanna@example.it,yes,2999-01-01\n")

    assert counts(job) == (0, 0, 0, 1)


def test_columns_kept_as_traits_keep_their_header(tmp_path):
    user = make_user()
    upload = SimpleUploadedFile(
        "p.csv", b"email,Shoe size,Colour\nanna@example.it,38,\nluca@example.it,44,red\n"
    )
    job = jobs.bring_file(upload, importer=CUSTOMERS, by=user)
    mapping = job.mapping | {"Shoe size": "trait", "Colour": "trait"}
    jobs.choose_columns(job.pk, importer=CUSTOMERS, mapping=mapping, options={})
    jobs.start_import(job.pk, importer=CUSTOMERS, by=user)

    jobs.run_import(job.pk, importer=CUSTOMERS)

    traits = Customer.objects.order_by("pk").values_list("traits", flat=True)
    assert list(traits) == [{"Shoe size": 38}, {"Shoe size": 44, "Colour": "red"}]


def test_an_export_brought_back_changes_nothing(bring):
    bring("customer_number,email,phone\nC1,anna@example.it,'+393475550101\n")

    assert Identifier.objects.get(kind="phone").value == "+393475550101"


def test_a_check_counts_like_the_import_and_writes_nothing(bring):
    make_customer(email="anna@example.it")
    user = make_user()
    data = b"email,first name\nanna@example.it,Anna\nnew@example.it,Eva\nnew@example.it,Eva\nbad,x\n"
    job = jobs.bring_file(SimpleUploadedFile("p.csv", data), importer=CUSTOMERS, by=user)

    check = jobs.check_draft(job.pk, importer=CUSTOMERS)

    assert (check.created, check.updated, check.unchanged, check.rejected) == (1, 1, 1, 1)
    assert check.examples == [(5, "email: “bad” is not an e-mail address.")]
    assert check.groups == [("email", 1)]
    assert Customer.objects.count() == 1
    assert Customer.objects.get().first_name == ""


def test_a_check_of_a_long_file_says_that_it_saw_only_its_beginning():
    data = _people(30)
    job = jobs.bring_file(SimpleUploadedFile("p.csv", data), importer=CUSTOMERS, by=make_user())

    with jobs.open_file(job) as file:
        check = runner.check(file, job, CUSTOMERS, limit=20)

    assert (check.rows, check.created, check.is_whole) == (20, 20, False)


def _queued(data: bytes) -> ImportJob:
    user = make_user()
    job = jobs.bring_file(SimpleUploadedFile("people.csv", data), importer=CUSTOMERS, by=user)
    return jobs.start_import(job.pk, importer=CUSTOMERS, by=user)


def _people(count: int) -> bytes:
    return b"customer_id,email\n" + b"".join(b"N%d,n%d@example.it\n" % (n, n) for n in range(count))


def test_a_worker_that_dies_loses_nothing_and_the_next_one_goes_on(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 10)
    job = _queued(_people(45))
    applied = 0

    def die_at_the_third_chunk(rows: Any, setup: Any, *, for_good: bool) -> Any:
        nonlocal applied
        applied += 1
        if applied == 3:
            raise KeyboardInterrupt
        return type(CUSTOMERS).apply(CUSTOMERS, rows, setup, for_good=for_good)

    monkeypatch.setattr(CUSTOMERS, "apply", die_at_the_third_chunk)
    with pytest.raises(KeyboardInterrupt):
        jobs.run_import(job.pk, importer=CUSTOMERS)
    job.refresh_from_db()
    assert (job.status, job.rows, job.created) == ("running", 20, 20)

    monkeypatch.undo()
    jobs.run_import(job.pk, importer=CUSTOMERS)
    job.refresh_from_db()
    assert counts(job) == (45, 0, 0, 0)


def test_a_fault_of_ours_is_said_in_plain_words_and_what_is_in_stays(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 10)
    job = _queued(_people(25))

    def fail_late(rows: Any, setup: Any, *, for_good: bool) -> Any:
        if rows[0].line > 10:
            raise ZeroDivisionError
        return type(CUSTOMERS).apply(CUSTOMERS, rows, setup, for_good=for_good)

    monkeypatch.setattr(CUSTOMERS, "apply", fail_late)
    jobs.run_import(job.pk, importer=CUSTOMERS)

    job.refresh_from_db()
    assert job.status == "failed"
    assert job.error.startswith("The import stopped after 10 rows")
    assert Customer.objects.count() == 10


def test_whoever_was_overtaken_keeps_nothing():
    job = _queued(_people(20))
    overtaken = ImportJob.objects.get(pk=job.pk)
    ImportJob.objects.filter(pk=job.pk).update(rows=10)

    with jobs.open_file(overtaken) as file, pytest.raises(runner.Overtaken):
        runner.run(file, overtaken, CUSTOMERS)

    assert not Customer.objects.exists()


def test_a_file_that_keeps_killing_workers_at_one_row_is_given_up():
    job = _queued(_people(3))
    options = {"attempts": jobs.MAX_ATTEMPTS, "stuck_at": 0}
    ImportJob.objects.filter(pk=job.pk).update(status="running", options=options)

    jobs.run_import(job.pk, importer=CUSTOMERS)

    job.refresh_from_db()
    assert job.status == "failed"


def test_a_long_file_survives_any_number_of_workers_that_got_on_with_it():
    job = _queued(_people(3))
    options = {"attempts": jobs.MAX_ATTEMPTS, "stuck_at": -1}
    ImportJob.objects.filter(pk=job.pk).update(status="running", options=options)

    jobs.run_import(job.pk, importer=CUSTOMERS)

    job.refresh_from_db()
    assert job.status == "done"


def test_a_worker_that_is_asked_to_stop_leaves_the_rest_to_another(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 10)
    job = _queued(_people(25))
    rung: list[int] = []
    monkeypatch.setattr(CUSTOMERS, "ring", rung.append)

    jobs.run_import(job.pk, importer=CUSTOMERS, should_stop=lambda: True)
    job.refresh_from_db()
    assert (job.status, job.rows, rung) == ("running", 10, [job.pk])

    jobs.run_import(job.pk, importer=CUSTOMERS)
    job.refresh_from_db()
    assert counts(job) == (25, 0, 0, 0)


def test_a_finished_import_is_not_run_again_and_its_file_is_gone():
    job = _queued(_people(3))
    stored, name = job.file.storage, job.file.name
    jobs.run_import(job.pk, importer=CUSTOMERS)
    jobs.run_import(job.pk, importer=CUSTOMERS)

    job.refresh_from_db()
    assert counts(job) == (3, 0, 0, 0)
    assert not stored.exists(name)


def test_a_draft_starts_once():
    job = _queued(_people(3))

    with pytest.raises(DomainError, match="started already"):
        jobs.start_import(job.pk, importer=CUSTOMERS, by=job.by)


def test_jobs_nobody_works_on_are_rung_again(monkeypatch):
    rung: list[int] = []
    monkeypatch.setattr(CUSTOMERS, "ring", rung.append)
    lost, fresh = _queued(_people(3)), _queued(_people(3))
    rung.clear()
    ImportJob.objects.filter(pk=lost.pk).update(started_at=now() - 2 * jobs.OVERDUE)
    command = ImportJob.objects.create(
        kind="customers", status="running", file_name="x.csv", started_at=now() - 2 * jobs.OVERDUE
    )

    assert jobs.resume_imports(CUSTOMERS) == 1
    assert rung == [lost.pk]
    command.refresh_from_db()
    assert command.status == "failed"
    assert fresh.pk not in rung


@pytest.mark.django_db(transaction=True)
def test_the_same_file_twice_at_once_creates_everybody_once(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 50)
    forward, backward = tmp_path / "forward.csv", tmp_path / "backward.csv"
    lines = _people(400).decode().splitlines(keepends=True)
    forward.write_text("".join(lines))
    backward.write_text(lines[0] + "".join(reversed(lines[1:])))
    done: list[ImportJob] = []
    inside: list[int] = []
    most_inside = 0

    def alone(rows: Any, setup: Any, *, for_good: bool) -> Any:
        nonlocal most_inside
        inside.append(threading.get_ident())
        most_inside = max(most_inside, len(inside))
        time.sleep(0.05)
        try:
            return type(CUSTOMERS).apply(CUSTOMERS, rows, setup, for_good=for_good)
        finally:
            inside.remove(threading.get_ident())

    def bring(path: Path) -> None:
        try:
            done.append(jobs.import_path(path, importer=CUSTOMERS, options={}))
        finally:
            connection.close()

    monkeypatch.setattr(CUSTOMERS, "apply", alone)
    threads = [threading.Thread(target=bring, args=[path]) for path in (forward, backward)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most_inside == 1  # Chunks take turns.
    assert [job.status for job in done] == ["done", "done"]
    assert sum(job.created for job in done) == 400
    assert sum(job.unchanged for job in done) == 400
    assert Customer.objects.count() == 400
    assert Event.objects.filter(name="Customer Imported").count() == 400


@pytest.mark.django_db(transaction=True)
def test_two_workers_do_not_run_one_job(monkeypatch):
    job = _queued(_people(20))
    entered, leave = threading.Event(), threading.Event()

    def slowly(rows: Any, setup: Any, *, for_good: bool) -> Any:
        entered.set()
        leave.wait(20)
        return type(CUSTOMERS).apply(CUSTOMERS, rows, setup, for_good=for_good)

    def work() -> None:
        try:
            jobs.run_import(job.pk, importer=CUSTOMERS)
        finally:
            connection.close()

    monkeypatch.setattr(CUSTOMERS, "apply", slowly)
    first = threading.Thread(target=work)
    first.start()
    assert entered.wait(20)
    jobs.run_import(job.pk, importer=CUSTOMERS)  # Comes back at once: the job is taken.
    job.refresh_from_db()
    assert job.rows == 0
    leave.set()
    first.join()

    job.refresh_from_db()
    assert counts(job) == (20, 0, 0, 0)


@pytest.mark.django_db(transaction=True)
def test_somebody_who_takes_an_identifier_meanwhile_makes_the_chunk_run_again(monkeypatch):
    job = _queued(b"email,first name\nanna@example.it,Anna\n")
    original = type(CUSTOMERS).apply
    rivals: list[Customer] = []

    def with_a_rival(rows: Any, setup: Any, *, for_good: bool) -> Any:
        from customers.imports import apply

        def find_owners(keys: Any) -> Any:
            found = real(keys)
            if not rivals:
                thread = threading.Thread(target=rival)
                thread.start()
                thread.join()
            return found

        def rival() -> None:
            rivals.append(make_customer(email="anna@example.it"))
            connection.close()

        real = apply.find_owners
        monkeypatch.setattr(apply, "find_owners", find_owners)
        try:
            return original(CUSTOMERS, rows, setup, for_good=for_good)
        finally:
            monkeypatch.setattr(apply, "find_owners", real)

    monkeypatch.setattr(CUSTOMERS, "apply", with_a_rival)
    jobs.run_import(job.pk, importer=CUSTOMERS)

    job.refresh_from_db()
    assert counts(job) == (0, 1, 0, 0)
    assert Customer.objects.get().pk == rivals[0].pk


def test_a_file_of_another_kind_is_refused_before_it_is_kept():
    with pytest.raises(DomainError, match="Excel"):
        jobs.bring_file(
            SimpleUploadedFile("x.csv", b"\xd0\xcf\x11\xe0..."), importer=CUSTOMERS, by=make_user()
        )

    assert not ImportJob.objects.exists()


def test_a_command_accounts_for_every_row(tmp_path, capsys):
    from django.core.management import call_command

    path = tmp_path / "people.csv"
    path.write_text("email,city\nanna@example.it,Roma\nbad,Milano\n")
    out = io.StringIO()

    call_command("import_customers", str(path), stdout=out)

    job = ImportJob.objects.get()
    assert "2 rows = 1 created + 0 updated + 0 unchanged + 1 rejected" in out.getvalue()
    assert "line 3: email: “bad” is not an e-mail address." in out.getvalue()
    assert f"kept with import {job.pk}" in out.getvalue()
    assert out.getvalue().startswith(f"Import {job.pk}: people.csv\n")


def test_a_command_tells_how_far_it_is_and_where_it_goes_on(monkeypatch):
    monkeypatch.setattr(commands, "SECONDS_BETWEEN_LINES", 0)
    command = commands.ImportCommand(stdout=io.StringIO())
    job = ImportJob.objects.create(
        kind="customers",
        status="running",
        file_name="people.xlsx",
        dialect={"sheet": "People"},
        total_bytes=1_000,
        done_bytes=200,
        rows=1_000,
        taken_at=now() - timedelta(seconds=10),
        taken_rows=1_000,
        taken_bytes=200,
    )

    command.report_progress(job)
    job.rows, job.done_bytes, job.created, job.rejected = 2_000, 400, 900, 12
    command.report_progress(job)

    first, second, third = command.stdout.getvalue().splitlines()
    assert first == f"Import {job.pk}: people.xlsx, sheet “People”"
    assert second == "  going on after the 1,000 rows that are in"
    assert re.fullmatch(r"   40%  +2,000 rows  +\d+ rows/s  0:3\d left  900 created, 12 rejected", third)


def test_the_pace_is_that_of_the_worker_who_has_it_now():
    job = ImportJob(status="running", rows=5_000, done_bytes=600, total_bytes=1_000, taken_rows=3_000)
    assert (job.rows_per_second, job.seconds_left) == (0, None)

    job.taken_at, job.taken_bytes = now() - timedelta(seconds=20), 200

    assert job.rows_per_second == pytest.approx(100, rel=0.05)
    assert job.seconds_left == pytest.approx(20, rel=0.05)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, ""),
        (12, "less than a minute left"),
        (70, "about 1 minute left"),
        (1_500, "about 25 minutes left"),
    ],
)
def test_the_time_left_is_said_as_a_person_would(seconds, said):
    assert time_left(seconds) == said
    assert clock(seconds or 3_725) in {"1:02:05", "0:12", "1:10", "25:00"}


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), (b"\x89PNG\r\n", "PNG"), (b"city,street\nRoma,Via\n", "No column says who")],
)
def test_a_command_says_in_one_line_why_it_cannot(tmp_path, content, message):
    from django.core.management import CommandError, call_command

    path = tmp_path / "people.csv"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(CommandError, match=message) as refused:
        call_command("import_customers", str(path), stdout=io.StringIO())
    assert "\n" not in str(refused.value)
