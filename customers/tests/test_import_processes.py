"""Imports by real processes: read in one, written in another, and killed in the middle."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection

from bench import dirt
from core.tests.factories import make_user
from customers.imports import CUSTOMERS, chunks, jobs, processes
from customers.imports.reader import UnreadableFile
from customers.models import Consent, ConsentEvent, Customer, Event, Identifier, ImportJob, ImportRejection

from . import workbooks

pytestmark = pytest.mark.django_db(transaction=True)

# Small chunks, read by a process however short the file is, in the database of this test.
PROGRAM = """
import sys
import django
django.setup()
from django.core.management import call_command
from django.db import connection
from customers.imports import CUSTOMERS, chunks, jobs, processes, runner
database, what, argument = sys.argv[1:]
connection.settings_dict["NAME"] = database
chunks.CHUNK_ROWS, processes.LONG_FILE = 100, 0
if what == "command":
    call_command("import_customers", argument)
else:
    jobs.run_import(int(argument), importer=CUSTOMERS)
"""
ROWS = 4_000


def start(what: str, argument: Any) -> "subprocess.Popen[bytes]":
    database = connection.settings_dict["NAME"]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, database, what, str(argument)], stdout=subprocess.DEVNULL
    )


def kill_in_the_middle(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL once some rows are in; whatever it started ends by itself."""
    wait_until(lambda: ImportJob.objects.filter(rows__gt=0).exists() or process.poll() is not None)
    readers = children_of(process.pid)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "It was over before it was killed."
    assert readers
    wait_until(lambda: not any(map(is_running, readers)))


def wait_until(is_so: Callable[[], Any]) -> None:
    end = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < end, "It never came."
        time.sleep(0.01)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def people(count: int) -> bytes:
    """A row per person with a consent; every tenth stands there twice, every fiftieth cannot be used."""
    lines = [b"customer_id,email,newsletter,consent_on"]
    for number in range(count):
        email = b"none" if number % 50 == 7 else b"p%d@example.it" % (number - number % 10 // 9)
        lines.append(b"C%d,%s,yes,2024-01-01" % (number - number % 10 // 9, email))
    return b"\n".join(lines) + b"\n"


def assert_everybody_is_there_once(job: ImportJob) -> None:
    bad, doubles = ROWS // 50, ROWS // 10
    job.refresh_from_db()
    assert (job.status, job.rows, job.created) == ("done", ROWS, ROWS - bad - doubles), job.error
    assert (job.updated, job.unchanged, job.rejected) == (0, doubles, bad)
    assert ImportJob.objects.count() == 1
    assert Customer.objects.count() == job.created
    assert Identifier.objects.count() == 2 * job.created
    assert ConsentEvent.objects.count() == Consent.objects.count() == job.created
    assert Event.objects.filter(name="Customer Imported").count() == job.created
    lines = list(ImportRejection.objects.values_list("line", flat=True))
    assert lines == list(range(9, ROWS, 50))


def test_a_killed_command_goes_on_where_it_stopped_when_run_again(tmp_path: Path):
    path = tmp_path / "people.csv"
    path.write_bytes(people(ROWS))
    kill_in_the_middle(start("command", path))
    job = ImportJob.objects.get()
    assert 0 < job.rows < ROWS

    assert start("command", path).wait() == 0

    assert_everybody_is_there_once(job)


def test_a_killed_worker_leaves_a_job_that_is_found_and_finished():
    upload = SimpleUploadedFile("people.csv", people(ROWS))
    job = jobs.bring_file(upload, importer=CUSTOMERS, by=make_user())
    jobs.choose_columns(
        job.pk, importer=CUSTOMERS, mapping=job.mapping, options={"consent_source": "till form"}
    )
    jobs.start_import(job.pk, importer=CUSTOMERS, by=job.by)
    kill_in_the_middle(start("job", job.pk))

    assert start("job", job.pk).wait() == 0

    assert_everybody_is_there_once(job)


def test_a_changed_file_is_a_new_import(tmp_path: Path):
    path = tmp_path / "people.csv"
    path.write_bytes(people(ROWS))
    kill_in_the_middle(start("command", path))
    os.utime(path, (0, 0))

    job = jobs.import_path(path, importer=CUSTOMERS, options={})

    assert ImportJob.objects.count() == 2
    assert (job.status, job.rows) == ("done", ROWS)
    assert Customer.objects.count() == ROWS - ROWS // 50 - ROWS // 10


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every file counts as long."""
    monkeypatch.setattr(processes, "LONG_FILE", 0)
    monkeypatch.setattr(processes, "LONG_WORKBOOK", 0)
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 100)
    return


def chunks_from(path: Path, *, by_process: bool) -> list[chunks.Chunk]:
    from customers.imports import reader

    with path.open("rb") as file:
        dialect = reader.sniff(file).as_json()
        portions = chunks.Portions(dialect, {"email": "email", "store": "home_store"}, {}, skip=50)
        if by_process:
            return list(processes.chunks_of(file, portions, CUSTOMERS))
        return list(chunks.read_chunks(file, portions, CUSTOMERS))


def test_a_process_reads_what_we_would_read_and_knows_our_stores(tmp_path: Path, long: None):
    from inventory.tests.factories import make_store

    store = make_store(code="brera", name="Milano Brera")
    path = tmp_path / "people.csv"
    path.write_text("email,store\n" + "a@b.it,brera\nbad,brera\nc@d.it,nowhere\n" * 150)

    here, there = (chunks_from(path, by_process=by_process) for by_process in (False, True))

    assert there == here
    assert [chunk.size for chunk in here] == [100, 100, 100, 100]
    assert here[0].rows[0].values == {"home_store_id": store.pk}


def test_a_process_that_dies_is_done_without(tmp_path: Path, long: None, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "people.csv"
    path.write_text("email,store\n" + "a@b.it,\n" * 600)
    received = 0
    receive = processes._receive

    def kill_after_two(process: "subprocess.Popen[bytes]") -> Any:
        nonlocal received
        received += 1
        if received == 3:
            process.kill()
            process.wait()
            process.stdout.read()
        return receive(process)

    monkeypatch.setattr(processes, "_receive", kill_after_two)

    assert [chunk.size for chunk in chunks_from(path, by_process=True)] == [100] * 5 + [50]


def test_what_is_wrong_with_a_workbook_is_said_from_the_process_too(tmp_path: Path, long: None):
    rows = [["email", "store"], *([f"p{number}@b.it", ""] for number in range(3_000))]
    data = bytearray(workbooks.of_rows(*rows))
    at = data.index(b"xl/worksheets/sheet1.xml") + 9_000
    data[at : at + 100] = b"\0" * 100
    path = tmp_path / "people.xlsx"
    path.write_bytes(data)

    with pytest.raises(UnreadableFile, match="damaged"):
        chunks_from(path, by_process=True)


def test_a_process_ends_when_nobody_wants_more(tmp_path: Path, long: None):
    path = tmp_path / "people.csv"
    path.write_text("email,store\n" + "a@b.it,\n" * 20_000)
    from customers.imports import reader

    with path.open("rb") as file:
        portions = chunks.Portions(reader.sniff(file).as_json(), {"email": "email"}, {})
        found = processes.chunks_of(file, portions, CUSTOMERS)
        assert next(found).size == 100
        (reading,) = children_of(os.getpid())
        found.close()

    assert not is_running(reading)


MEMORY = """
import json, re, resource, sys
from pathlib import Path
import django
django.setup()
from django.db import connection
from customers.imports import CUSTOMERS, jobs, processes
connection.settings_dict["NAME"], processes.LONG_FILE = sys.argv[1], 0
job = jobs.import_path(Path(sys.argv[2]), importer=CUSTOMERS, options={})
counts = [job.rows, job.created, job.updated, job.unchanged, job.rejected]
# What getrusage says of a process begins with the size of the one that started it.
mine = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
reader = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"counts": counts, "peaks": [mine // 1024, reader // 1024]}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["utf-8 with BOM", "utf-16", "cp1252"])
def test_a_long_dirty_file_is_accounted_for_in_bounded_memory_and_a_rerun_creates_nothing(
    tmp_path: Path, encoding: str
):
    path = tmp_path / "dirty.csv"
    truth = dirt.dirty_file(path, 8_000, seed=7, encoding=encoding)

    first, again = (import_in_a_process(path) for _ in range(2))

    rows, created, updated, unchanged, rejected = first["counts"]
    assert (rows, created, rejected) == (truth.rows, truth.people, truth.rejected)
    assert created + updated + unchanged + rejected == rows
    assert again["counts"] == [rows, 0, 0, rows - rejected, rejected]
    assert ImportRejection.objects.exclude(reason="").count() == 2 * rejected
    assert sum(first["peaks"]) < 400, first["peaks"]


def import_in_a_process(path: Path) -> dict[str, Any]:
    """The counts of an import by a process of its own, and the megabytes it and its reader took."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, connection.settings_dict["NAME"], path],
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_chunks_travel_as_they_are():
    chunk = chunks.Chunk(1, [], [chunks.Refusal(2, "why", "email", ["x"])], 10, pickle.dumps({}))

    assert pickle.loads(pickle.dumps(chunk)) == chunk
