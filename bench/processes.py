"""Contestants in processes of their own, started before the clock and told when to go.

A Python contestant is a module run as `python -m bench.<name>` that calls `serve(work)`: it imports and
connects, says `ready`, waits for `go`, works, and answers with what it cost.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

BASE_DIR = Path(__file__).resolve().parent.parent


class WorkerFailed(Exception):
    """A contestant's process ended before it answered."""


class Worker:
    """One process that waits for its signal."""

    def __init__(self, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=BASE_DIR,
            env=environment,
        )
        self._expect("ready")

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What `serve` told: the work's own figures, cpu_seconds and peak_bytes."""
        found: dict[str, Any] = json.loads(self._expect("{"))
        return found

    def wait(self) -> None:
        """Let it end, which takes a large process a while."""
        self._process.communicate()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.communicate()

    def _expect(self, beginning: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(beginning):
                return line
        raise WorkerFailed(f"{self._process.args!r} ended with {self._process.wait()}")


def run_together(workers: Sequence[Worker]) -> tuple[float, list[dict[str, Any]]]:
    """Send them off at once; seconds until the last has answered, and the answers."""
    try:
        start = time.perf_counter()
        for worker in workers:
            worker.go()
        answers = [worker.answer() for worker in workers]
        seconds = time.perf_counter() - start
        for worker in workers:
            worker.wait()
        return seconds, answers
    finally:
        for worker in workers:
            worker.kill()


def python(module: str, *arguments: str) -> list[str]:
    """The command of a module of this folder."""
    return [sys.executable, "-m", f"bench.{module}", *arguments]


def serve(work: Callable[[], dict[str, Any]]) -> None:
    """The process's side: wait for the signal, work, answer."""
    print("ready", flush=True)
    if not sys.stdin.readline():
        return
    before = cpu_seconds()
    found = work()
    found |= {"cpu_seconds": cpu_seconds() - before, "peak_bytes": peak_bytes()}
    print(json.dumps(found), flush=True)


def cpu_seconds() -> float:
    """Of this process and the children it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def peak_bytes(pid: int | str = "self") -> int:
    """The most resident memory a process has had, bytes; 0 where nobody keeps it."""
    return _memory(pid, "VmHWM:")


def resident_bytes(pid: int | str = "self") -> int:
    """Its resident memory now."""
    return _memory(pid, "VmRSS:")


def environment_for(**changes: str) -> dict[str, str]:
    """Ours, with these changed."""
    return dict(os.environ) | changes


def _memory(pid: int | str, key: str) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    return 0
