"""Where the processes of one web server count together; imported before Django and the counting library."""

import os
import shutil
import tempfile
from pathlib import Path

SHARED = "PROMETHEUS_MULTIPROC_DIR"  # The library reads it once, when it is imported.
PREFIX = "omnicrm-metrics-"


def share_counters() -> None:
    """Give the counters of this web server a folder, found by the process that started its workers.

    The folders of servers that are gone are removed. Where the variable is set already, it is left alone.
    """
    if os.environ.get(SHARED):
        return
    there = Path(tempfile.gettempdir())
    for folder in there.glob(f"{PREFIX}*"):
        pid, _, started = folder.name.removeprefix(PREFIX).partition("-")
        if _started(pid) != started and folder.stat().st_uid == os.geteuid():
            shutil.rmtree(folder, ignore_errors=True)
    parent = str(os.getppid())
    folder = there / f"{PREFIX}{parent}-{_started(parent)}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid == os.geteuid():
        os.environ[SHARED] = str(folder)


def _started(pid: str) -> str:
    """When a process started, in ticks since the machine did; `gone` when it cannot be told."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "gone"
