"""What a run tells: the machine, a table per measure, the verdicts."""

import os
import platform
import statistics
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from . import database
from .harness import Judged, Options, Result, Run

_LINE = "  {:<34}{:>7}{:>14}{:>14}{:>12}{:>10}"


def facts(options: Options) -> dict[str, Any]:
    """The machine, the versions and the sizes: the head of bench.json."""
    return {
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "full": options.full,
        "failed": False,
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "system": platform.platform(),
            "load": [round(load, 2) for load in os.getloadavg()],
        },
        "versions": {"python": platform.python_version(), "commit": _commit()}
        | {name: version(name) for name in ("Django", "psycopg", "celery", "granian")},
        "postgres": database.settings(),
        "measures": [],
    }


def heading(record: dict[str, Any]) -> str:
    machine, postgres = record["machine"], record["postgres"]
    size = "the sizes of the issue" if record["full"] else "SMALL SIZES: FULL=1 measures those of the issue"
    return (
        f"{record['started_at']}  {machine['cores']} × {machine['processor']}, {machine['memory_gb']} GB, "
        f"load {machine['load'][0]}\nPostgreSQL {postgres['server_version']}, shared_buffers "
        f"{postgres['shared_buffers']}, fsync {postgres['fsync']}, Python {record['versions']['python']}, "
        f"Django {record['versions']['Django']}, commit {record['versions']['commit']}\n{size}"
    )


def table(result: Result) -> str:
    """The contestants by median, then the verdicts."""
    unit = result.measure.unit
    lines = [_LINE.format("", "rounds", f"{unit}/s", "ms CPU each", "ms DB each", "peak MB")]
    for name, runs in result.runs.items():
        lines.append(_row(name, runs, result.database_cpu[name]))
    lines += [f"  {name:<34}skipped: {why}" for name, why in result.skipped.items()]
    lines += [f"  {_verdict(judged)}" for judged in result.judged]
    if result.error:
        lines.append(f"  ✗ broke: {result.error}")
    return "\n".join(lines)


def summary(record: dict[str, Any], target: Path) -> str:
    verdict = "Not every must holds." if record["failed"] else "Every must that could be judged holds."
    return f"\n{verdict} All rounds: {target}"


def _row(name: str, runs: list[Run], database_cpu: list[float]) -> str:
    server = statistics.median(cpu / run.units for cpu, run in zip(database_cpu, runs, strict=True))
    peak = max(run.peak_bytes for run in runs)
    return _LINE.format(
        name[:34],
        len(runs),
        f"{_number(statistics.median(run.figure('rate') for run in runs))}",
        f"{statistics.median(run.figure('cpu') for run in runs) * 1000:.3f}",
        f"{server * 1000:.3f}",
        f"{peak / 2**20:.0f}" if peak else "",
    )


def _verdict(judged: Judged) -> str:
    limit = judged.limit
    if judged.value is None:
        return f"? {limit.ours}: {limit.text}: not judged"
    sign = {True: "✓", False: "✗", None: "·"}[judged.holds]
    spread = "" if judged.low == judged.high else f" [{_number(judged.low)}–{_number(judged.high)}]"
    bounds = [
        ("must", "≥", limit.at_least, judged.holds),
        ("must", "≤", limit.at_most, judged.holds),
        ("goal", "≥", limit.goal_at_least, judged.reaches_goal),
        ("goal", "≤", limit.goal_at_most, judged.reaches_goal),
    ]
    if limit.at_least is not None and limit.at_least == limit.at_most:
        bounds[:2] = [("must", "=", limit.at_least, judged.holds)]
    wanted = [
        f"{word} {symbol} {_number(bound)}{'' if holds else ' MISSED'}"
        for word, symbol, bound, holds in bounds
        if bound is not None
    ]
    against = f"  ({', '.join(wanted)})" if wanted else ""
    return f"{sign} {limit.ours}: {limit.text}: {_number(judged.value)}{spread}{against}"


def _number(value: float) -> str:
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=database.BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "unknown"
