"""Sending a campaign, against Postfix's own generator and against what other Django shops use."""

import re
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from html import unescape
from typing import Any

from campaigns import tokens
from campaigns.models import Link, Message
from customers.models import Customer

from . import crowd, database, mailserver, rivals
from .harness import Contestant, Limit, Measure, Options, Run
from .processes import Worker, cpu_seconds, environment_for, python, run_together

WORKERS = 2
FULL = 20_000
SAMPLE = 200  # Mails that are read back before anything is measured.
SLOW_PEER = 1_000  # Mails a slow peer sends per round.
OURS, FLOOR, KEPT = "OmniCRM, 2 workers", "smtp-source -s 8", "smtp-source -s 8 -d"
_LINK = re.compile(r'href="([^"]+)"')


def _people(options: Options) -> int:
    return options.size(5_000, FULL)


@contextmanager
def contestants(options: Options) -> Iterator[list[Contestant]]:
    """Everybody sends to the same mail server; what a mail of ours looks like is checked first."""
    people = _people(options)
    sample = read_back()
    mail_bytes = round(statistics.mean(len(mail) for mail in sample))
    crowd_database = crowd.prepared(people)
    with (
        mailserver.sink() as port,
        database.copy(crowd_database, "bench_dispatch"),
        rivals.standing_by(
            sample[0], crowd.FIRST_NAMES[0], port, options, few=SLOW_PEER, many=people
        ) as peers,
    ):
        yield [
            Contestant(OURS, lambda number: send(people, port)[0]),
            _smtp_source(FLOOR, ["-s", "8"], people, mail_bytes, port),
            _smtp_source(KEPT, ["-s", "8", "-d"], people, mail_bytes, port),
            *peers,
        ]


def send(people: int, port: int, *, workers: int = WORKERS) -> tuple[Run, list[dict[str, Any]]]:
    """One campaign through the product's own dispatcher, and what each of its processes told."""
    campaign = crowd.launch(people)
    environment = environment_for(EMAIL_URL=f"smtp://127.0.0.1:{port}")
    seconds, answers = run_together([Worker(python("send"), environment) for _ in range(workers)])
    sent = Message.objects.filter(campaign=campaign, status=Message.Status.SENT).count()
    if sent != people:
        raise AssertionError(f"{sent} of {people} messages were sent.")
    cpu = sum(answer["cpu_seconds"] for answer in answers)
    return Run(people, seconds, cpu, max(answer["peak_bytes"] for answer in answers)), answers


def read_back() -> list[bytes]:
    """Send a sample to a server that keeps it, check that each mail is its reader's, and return them."""
    folder = database.home() / "mails"
    with (
        database.copy(crowd.prepared(SAMPLE), "bench_sample"),
        mailserver.looking_glass(folder) as port,
    ):
        send(SAMPLE, port)
        mails = [path.read_bytes() for path in sorted(folder.iterdir())]
        people = {message.address: message.customer for message in Message.objects.select_related("customer")}
        links = set(Link.objects.values_list("pk", flat=True))
        parsed = [message_from_bytes(mail, policy=default) for mail in mails]
        if {str(mail["To"]) for mail in parsed} != set(people) or len(parsed) != SAMPLE:
            raise AssertionError(f"{len(parsed)} mails arrived for {SAMPLE} people.")
        for mail in parsed:
            _check(mail, people[str(mail["To"])], links)
    size = statistics.mean(map(len, mails))
    if not 0.9 < size / crowd.MAIL_BYTES < 1.1:
        raise AssertionError(f"A mail has {size:.0f} bytes, not about {crowd.MAIL_BYTES}.")
    return mails


def _check(mail: EmailMessage, person: Customer, links: set[int]) -> None:
    """Both bodies speak to this person, and every link is stored, tracked and signed for one message."""
    message_id = int(str(mail["Message-ID"]).strip("<").partition(".")[0])
    html_part, text_part = mail.get_body(("html",)), mail.get_body(("plain",))
    assert html_part is not None, "A mail has an HTML body."
    assert text_part is not None, "A mail has a plain body."
    html, text = unescape(html_part.get_content()), text_part.get_content()
    name = person.first_name or "dear friend"
    for body in (html, text):
        assert body.count(name) >= len(crowd.PERSONAL), f"{name!r} stands in the personal paragraphs."
        assert f"with {person.traits['points']} points" in body
        assert "{{" not in body
    assert (person.first_name or "Good news") in str(mail["Subject"])
    found = [url.rpartition("/")[2] for url in _LINK.findall(html) if "/c/" in url]
    assert len(found) > crowd.PARAGRAPHS, "Every link is tracked."
    for token in found:
        for_message, link = tokens.read(tokens.CLICK, token)
        assert for_message == message_id
        assert link in links
    assert "/u/" in str(mail["List-Unsubscribe"])


def _smtp_source(name: str, options: list[str], mails: int, size: int, port: int) -> Contestant:
    found = mailserver.postfix()
    if found is None:
        return Contestant(name, None, skipped="Postfix is neither on this system nor to be had through apt")
    command = [found.source, *options, "-m", str(mails), "-l", str(size), "-f", "news@maglia.example"]
    command += ["-t", "person@mail.example", f"127.0.0.1:{port}"]

    def run(number: int) -> Run:
        start = time.perf_counter()
        before = cpu_seconds()
        subprocess.run(command, env=found.environment, check=True, stderr=subprocess.DEVNULL)
        return Run(mails, time.perf_counter() - start, cpu_seconds() - before)

    return Contestant(name, run)


def _sizes(options: Options) -> str:
    peers = f"slow peers send {SLOW_PEER:,} a round" + (", and all of them besides" if options.full else "")
    smaller = "" if options.full else " (the issue: 20,000)"
    return f"{_people(options):,} mails of 20 KB{smaller}, 15 tracked links, fences on; {peers}"


MEASURES = [
    Measure(
        "dispatch",
        "Sending a campaign",
        "mails",
        contestants,
        sizes=_sizes,
        limits=[
            Limit(OURS, FLOOR, at_least=0.55, goal_at_least=0.80),
            Limit(OURS, KEPT),
            Limit(OURS, rivals.all_of(rivals.POST_OFFICE, FULL), at_least=10, goal_at_least=12),
            Limit(OURS, rivals.POST_OFFICE, goal_at_least=12),
            Limit(OURS, rivals.WRITING),
            Limit(OURS, rivals.MAILER, goal_at_least=35),
        ],
    )
]
