"""Writing mails without sending them, against what shops write themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from campaigns import outbox
from campaigns.dispatch import BATCH
from campaigns.launches import launch_of
from campaigns.rendering import Outgoing

from . import crowd, database, rivals
from .dispatch import read_back
from .harness import Contestant, Limit, Measure, Options, Run, stopwatch
from .processes import Worker, environment_for, run_together

OURS, PEER = "OmniCRM", "sandboxed Jinja + Django's MIME"


def _mails(options: Options) -> int:
    return options.size(3_000, 20_000)


@contextmanager
def contestants(options: Options) -> Iterator[list[Contestant]]:
    """The same mails, from a person's values to the bytes of the wire."""
    mails = _mails(options)
    sample = read_back()
    with database.copy(crowd.prepared(mails), "bench_rendering"):
        outgoing = _outgoing(mails)
        launch_of(outgoing[0].content_id, outgoing[0].revision)  # Compiled once per launch, not per mail.
        yield [Contestant(OURS, lambda number: _write(outgoing)), _jinja(sample[0], mails)]


def _outgoing(mails: int) -> list[Outgoing]:
    """What the fence hands to a provider."""
    crowd.launch(mails)
    owner, outgoing = uuid4(), list[Outgoing]()
    while claimed := outbox.claim(owner, "email", BATCH):  # A fence holds a lock per person: not all at once.
        outgoing += outbox.fence(owner, [message.id for message in claimed])
    return outgoing


def _write(outgoing: list[Outgoing]) -> Run:
    size = 0
    with stopwatch() as watch:
        for message in outgoing:
            size += len(launch_of(message.content_id, message.revision).mail(message))
    if not 0.9 < size / len(outgoing) / crowd.MAIL_BYTES < 1.1:
        raise AssertionError(f"A mail has {size / len(outgoing):.0f} bytes.")
    return watch.run(len(outgoing))


def _jinja(mail: bytes, mails: int) -> Contestant:
    interpreter, why = rivals.environment()
    if why:
        return Contestant(PEER, None, skipped=why)
    template = rivals.write_template(mail, crowd.FIRST_NAMES[0])
    command = [interpreter, "-m", "bench.peers", "jinja", str(template), "write", str(mails)]

    def run(number: int) -> Run:
        seconds, (answer,) = run_together([Worker(command, environment_for())])
        if not 0.8 < answer["bytes"] / mails / crowd.MAIL_BYTES < 1.2:
            raise AssertionError(f"A mail has {answer['bytes'] / mails:.0f} bytes.")
        return Run(answer["written"], seconds, answer["cpu_seconds"], answer["peak_bytes"])

    return Contestant(PEER, run)


MEASURES = [
    Measure(
        "rendering",
        "Writing mails",
        "mails",
        contestants,
        [Limit(OURS, PEER, "cpu", goal_at_most=1 / 20)],
        sizes=lambda options: (
            f"{_mails(options):,} mails of 20 KB, text and HTML; ours signs 15 links in each"
        ),
    )
]
