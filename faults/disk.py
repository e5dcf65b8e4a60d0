"""The disk under PostgreSQL runs full while a campaign is sent."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from omnicrm import embedded

from . import house
from .house import House, wait_until
from .killing import _everybody_was_written_to, _is_sent
from .mail import MailServer
from .outages import _reconnect, _Visitor
from .report import Report, Scale

SIZE = "600m"


def f12_full(scale: Scale) -> Report:
    """Fill PostgreSQL's own small disk: pages answer or say 503, and after making room nothing is lost.

    It needs the right to mount, and a database server of its own: the test runs itself in a new process.
    """
    small = embedded.var_dir() / "small-disk"
    try:
        with _small_disk(small / "postgres"):
            command = [
                sys.executable,
                "-m",
                "faults.disk",
                str(small),
                str(scale.seed),
                str(int(scale.short)),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=_clean())
    except (OSError, subprocess.CalledProcessError) as error:
        return Report(skipped=f"no file system of {SIZE} could be mounted: {error}")
    report = Report()
    for line in done.stdout.splitlines():
        name, _, value = line.rpartition("=")
        if name.startswith("figure "):
            report.exactly(name.removeprefix("figure "), float(value), 0)
    report.exactly(f"the run ended well {done.stderr[-400:]}".strip(), done.returncode, 0)
    return report


def main() -> None:
    """Inside the new process: everything of this PostgreSQL lies on the small disk."""
    small, seed, short = Path(sys.argv[1]), int(sys.argv[2]), bool(int(sys.argv[3]))
    house.prepare(small, safe=not short)
    house.fresh_database()
    report, mail = Report(), MailServer()
    mail.delay = 0.005
    people = Scale(short, seed).pick(600, 5_000)
    house.make_crowd(people)
    campaign = house.launch_campaign()
    filler = small / "postgres" / "filler"
    with House(mail_port=mail.port) as product, _Visitor(product) as visitor:
        product.start_beat()
        product.start_workers(2)
        wait_until(lambda: len(mail.copies) > people // 5, what="the first fifth")
        _fill(filler)
        _exhaust()
        time.sleep(4)
        filler.unlink()
        embedded.start_again()
        _reconnect()
        wait_until(lambda: _is_sent(campaign), what="the end of the campaign")
    _everybody_was_written_to(report, mail, campaign)
    report.exactly("mails sent twice", mail.repeats(), 0)
    report.exactly("answers other than 200 or 503", visitor.strange(), 0)
    report.exactly("damaged indexes", _damaged_indexes(), 0)
    from omnicrm.invariants import check_invariants

    report.exactly("rows that break an invariant there", sum(one.count for one in check_invariants()), 0)
    for figure in report.figures:
        print(f"figure {figure.name}={figure.value}")


def _fill(filler: Path) -> None:
    with suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(b"\0" * (1 << 20))
            file.flush()


def _exhaust() -> None:
    """Write until PostgreSQL itself says that there is no room."""
    from django.db import DatabaseError, connection

    with suppress(DatabaseError), connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS ballast (line text)")
        for _ in range(200):
            cursor.execute("INSERT INTO ballast SELECT repeat('x', 1000) FROM generate_series(1, 2000)")
    _reconnect()


def _damaged_indexes() -> int:
    """B-tree indexes that PostgreSQL's own checker finds fault with."""
    from django.db import DatabaseError, connection

    damaged = 0
    with connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
        cursor.execute(
            "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON oid = indexrelid"
            " WHERE relam = (SELECT oid FROM pg_am WHERE amname = 'btree') AND relpersistence = 'p'"
        )
        for (index,) in cursor.fetchall():
            try:
                cursor.execute("SELECT bt_index_check(%s::regclass, true)", [index])
            except DatabaseError:
                damaged += 1
    return damaged


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", folder], check=True, capture_output=True
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        shutil.rmtree(folder.parent, ignore_errors=True)


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("OMNICRM_")}


if __name__ == "__main__":
    main()
