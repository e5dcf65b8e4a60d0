"""Whether a worker that sends and sends grows."""

from collections.abc import Iterator
from contextlib import contextmanager

from . import crowd, database, mailserver
from .dispatch import send
from .harness import Contestant, Limit, Measure, Options, Run

OURS = "OmniCRM, 1 worker"


def _span(options: Options) -> tuple[int, int]:
    """From which message of a worker on its memory is compared, and to which."""
    return (20_000, 200_000) if options.full else (10_000, 40_000)


@contextmanager
def contestants(options: Options) -> Iterator[list[Contestant]]:
    """One worker sends everything."""
    first, last = _span(options)
    with mailserver.sink() as port, database.copy(crowd.prepared(last), "bench_memory"):
        yield [Contestant(OURS, lambda number: _send(first, last, port))]


def _send(first: int, last: int, port: int) -> Run:
    run, (answer,) = send(last, port, workers=1)
    resident = [held for sent, held in answer["memory"] if sent >= first]
    growth = max(abs(held / resident[0] - 1) for held in resident)
    return Run(run.units, run.seconds, run.cpu_seconds, run.peak_bytes, {"growth": growth})


def _sizes(options: Options) -> str:
    first, last = _span(options)
    smaller = "" if options.full else " (the issue: 20,000th to 200,000th)"
    return f"a worker's memory from its {first:,}th to its {last:,}th mail{smaller}"


MEASURES = [
    Measure(
        "memory",
        "Memory of a worker",
        "mails",
        contestants,
        [Limit(OURS, figure="growth", at_most=0.10, claim="largest change of resident memory")],
        rounds=1,
        full_rounds=1,
        sizes=_sizes,
    )
]
