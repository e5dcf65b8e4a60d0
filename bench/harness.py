"""What a measure is, and how its contestants take turns.

A module of this folder takes part by naming its measures:

    @contextmanager
    def contestants(options: Options) -> Iterator[list[Contestant]]:
        with database.fresh("import"):                  # Whatever must stand ready while they run.
            yield [Contestant("OmniCRM", run_ours), Contestant("COPY + upsert", run_floor)]

    MEASURES = [Measure("import", "Import of a dirty file", "rows", contestants,
                        limits=[Limit("OmniCRM", "COPY + upsert", "seconds", at_most=6)])]

and by standing in `bench.__main__.MODULES`. A contestant's `run(round)` does the work once, asserts that
what came out is right, and returns a Run. Only ratios within one round are compared: every contestant runs
in every round, in reversed order every other round.
"""

import gc
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from . import database, processes


@dataclass(frozen=True)
class Options:
    """What was asked for. `full` means the sizes of the issue; else small ones, done in minutes."""

    full: bool = False
    rounds: int | None = None

    def size(self, small: int, full: int) -> int:
        return full if self.full else small


@dataclass(frozen=True)
class Run:
    """One turn: so many units in so many seconds.

    `cpu_seconds` is the contestant's own, PostgreSQL's is measured beside it. `peak_bytes` is the resident
    memory of its largest process. `notes` are further figures a Limit may name.
    """

    units: float
    seconds: float
    cpu_seconds: float = 0
    peak_bytes: int = 0
    notes: dict[str, float] = field(default_factory=dict)

    def figure(self, name: str) -> float:
        """rate (units a second), seconds and cpu (both per unit), peak_bytes, or a note."""
        if name == "rate":
            return self.units / self.seconds
        if name in ("seconds", "cpu"):
            return (self.seconds if name == "seconds" else self.cpu_seconds) / self.units
        return self.peak_bytes if name == "peak_bytes" else self.notes[name]


@dataclass(frozen=True)
class Contestant:
    """Who takes turns. `rounds` lets a slow one stop early; `skipped` says why it is not here at all."""

    name: str
    run: Callable[[int], Run] | None
    rounds: int | None = None
    skipped: str = ""


@dataclass(frozen=True)
class Limit:
    """What must hold: a figure of one contestant, over the same figure of another in the same round.

    Without `than` the figure itself is judged, its worst round. `at_least` or `at_most` is the must of the
    issue (None: there is none), `goal` the aim of PERFORMANCE.md in the same direction.
    """

    ours: str
    than: str = ""
    figure: str = "rate"
    at_least: float | None = None
    at_most: float | None = None
    goal_at_least: float | None = None
    goal_at_most: float | None = None
    claim: str = ""

    @property
    def text(self) -> str:
        what = {"rate": "rate", "seconds": "time", "cpu": "CPU", "peak_bytes": "peak memory"}
        name = what.get(self.figure, self.figure)
        return self.claim or (f"{name}, × {self.than}" if self.than else name)

    def holds(self, value: float, *, goal: bool = False) -> bool | None:
        """Whether the must, or the goal, holds; None when there is none."""
        least, most = (self.goal_at_least, self.goal_at_most) if goal else (self.at_least, self.at_most)
        if least is None and most is None:
            return None
        return (least is None or value >= least) and (most is None or value <= most)


@dataclass(frozen=True)
class Measure:
    """One question with its contestants; `sizes` says in words what was measured, and what the issue asks."""

    name: str
    title: str
    unit: str
    contestants: Callable[[Options], AbstractContextManager[list[Contestant]]]
    limits: list[Limit]
    rounds: int = 3
    full_rounds: int = 5
    sizes: Callable[[Options], str] = lambda options: ""


@dataclass
class Judged:
    """A limit after the rounds: the median of the rounds' ratios (or the worst figure) and their range."""

    limit: Limit
    value: float | None = None
    low: float = 0
    high: float = 0

    @property
    def holds(self) -> bool | None:
        return None if self.value is None else self.limit.holds(self.value)

    @property
    def reaches_goal(self) -> bool | None:
        return None if self.value is None else self.limit.holds(self.value, goal=True)


@dataclass
class Result:
    """What came of a measure: every round of every contestant, and the verdicts."""

    measure: Measure
    sizes: str
    runs: dict[str, list[Run]] = field(default_factory=dict)
    database_cpu: dict[str, list[float]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    judged: list[Judged] = field(default_factory=list)
    error: str = ""

    @property
    def failed(self) -> bool:
        return bool(self.error) or any(judged.holds is False for judged in self.judged)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.measure.name,
            "title": self.measure.title,
            "unit": self.measure.unit,
            "sizes": self.sizes,
            "error": self.error,
            "contestants": [
                {
                    "name": name,
                    "median_rate": statistics.median(run.figure("rate") for run in runs),
                    "rounds": [
                        vars(run) | {"database_cpu_seconds": cpu}
                        for run, cpu in zip(runs, self.database_cpu[name], strict=True)
                    ],
                }
                for name, runs in self.runs.items()
            ]
            + [{"name": name, "skipped": why} for name, why in self.skipped.items()],
            "limits": [
                vars(judged.limit)
                | {"text": judged.limit.text, "value": judged.value, "low": judged.low, "high": judged.high}
                | {"holds": judged.holds, "reaches_goal": judged.reaches_goal}
                for judged in self.judged
            ],
        }


def run_measure(measure: Measure, options: Options, say: Callable[[str], None]) -> Result:
    """Let the contestants take turns; an error ends the measure and is part of its result."""
    result = Result(measure, measure.sizes(options))
    rounds = options.rounds or (measure.full_rounds if options.full else measure.rounds)
    try:
        with measure.contestants(options) as everybody:
            result.skipped = {c.name: c.skipped for c in everybody if c.skipped}
            present = [contestant for contestant in everybody if not contestant.skipped]
            for number in range(rounds):
                for contestant in present if number % 2 == 0 else reversed(present):
                    if contestant.rounds is None or number < contestant.rounds:
                        _take_turn(contestant, number, result, say)
    except Exception as error:
        result.error = f"{type(error).__name__}: {error}"
        say(traceback.format_exc())
    result.judged = [_judge(limit, result.runs) for limit in measure.limits]
    return result


def _take_turn(contestant: Contestant, number: int, result: Result, say: Callable[[str], None]) -> None:
    assert contestant.run is not None
    database.settle()  # Nobody pays for what the one before left to write.
    gc.collect()
    before = database.cpu_seconds()
    run = contestant.run(number)
    result.runs.setdefault(contestant.name, []).append(run)
    result.database_cpu.setdefault(contestant.name, []).append(database.cpu_seconds() - before)
    say(f"  round {number + 1}: {contestant.name}: {run.units:,.0f} in {run.seconds:.2f} s")


def _judge(limit: Limit, runs: dict[str, list[Run]]) -> Judged:
    ours = [run.figure(limit.figure) for run in runs.get(limit.ours, [])]
    if limit.than:
        theirs = [run.figure(limit.figure) for run in runs.get(limit.than, [])]
        values = [mine / other for mine, other in zip(ours, theirs, strict=False)]  # Round by round.
    else:
        values = ours
    if not values:
        return Judged(limit)
    value = statistics.median(values)
    if not limit.than:
        is_ceiling = limit.at_most is not None or limit.goal_at_most is not None
        value = max(values) if is_ceiling else min(values)
    return Judged(limit, value, min(values), max(values))


@dataclass
class Watch:
    """Filled when `stopwatch` ends."""

    seconds: float = 0
    cpu_seconds: float = 0
    peak_bytes: int = 0

    def run(self, units: float, **notes: float) -> Run:
        return Run(units, self.seconds, self.cpu_seconds, self.peak_bytes, notes)


@contextmanager
def stopwatch() -> Iterator[Watch]:
    """Times work done in this process. For memory that means anything use `processes.run_python`."""
    watch = Watch()
    cpu, start = time.process_time(), time.perf_counter()
    try:
        yield watch
    finally:
        watch.seconds = time.perf_counter() - start
        watch.cpu_seconds = time.process_time() - cpu
        watch.peak_bytes = processes.peak_bytes()
