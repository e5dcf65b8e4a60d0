"""Where the mails of a measurement go, and the fastest way to put them there: Postfix's own test programs.

smtp-sink and smtp-source are used from the PATH, or taken out of Debian's package into a throw-away folder;
nothing is installed.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import database
from .processes import BASE_DIR

SYSTEM_FOLDERS = os.pathsep.join(["/usr/sbin", "/usr/libexec/postfix", "/usr/lib/postfix/sbin"])


@dataclass(frozen=True)
class Postfix:
    """The two programs, and the environment in which they find their libraries."""

    source: str
    sink: str
    environment: dict[str, str]


@cache
def postfix() -> Postfix | None:
    """Postfix's test programs, or None where neither the system nor apt has them."""
    places = os.environ.get("PATH", "") + os.pathsep + SYSTEM_FOLDERS
    source, sink = (shutil.which(name, path=places) for name in ("smtp-source", "smtp-sink"))
    if source and sink:
        return Postfix(source, sink, dict(os.environ))
    folder = database.home() / "postfix"
    if not (folder / "usr" / "sbin" / "smtp-sink").exists():
        with suppress(OSError, subprocess.SubprocessError):
            _unpack(folder)
    found = Postfix(
        str(folder / "usr" / "sbin" / "smtp-source"),
        str(folder / "usr" / "sbin" / "smtp-sink"),
        os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(map(str, _library_folders(folder)))},
    )
    return found if _runs(found) else None


@contextmanager
def sink() -> Iterator[int]:
    """The mail server every contestant sends to; its port on 127.0.0.1."""
    found = postfix()
    if found is None:
        with _own_sink() as port:
            yield port
        return
    port = _free_port()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []  # It refuses to stay root.
    process = subprocess.Popen(
        [found.sink, *user, f"127.0.0.1:{port}", "1024"],
        env=found.environment,
        cwd="/",
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port)
        yield port
    finally:
        process.kill()
        process.wait()


@contextmanager
def looking_glass(folder: Path) -> Iterator[int]:
    """A mail server that keeps every mail as a file in the folder, which is emptied first; its port."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with _own_sink(str(folder)) as port:
        yield port


@contextmanager
def _own_sink(*arguments: str) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.sink", *arguments], stdout=subprocess.PIPE, text=True, cwd=BASE_DIR
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def _unpack(folder: Path) -> None:
    """Download Debian's package with what it needs and the system lacks, and take the files out of it."""
    archives, lists = folder / "archives", folder / "lists"
    for part in (archives, lists):
        (part / "partial").mkdir(parents=True, exist_ok=True)
    own = ["-o", "Debug::NoLocking=1", "-o", f"Dir::Cache={folder}", "-o", f"Dir::Cache::archives={archives}"]
    own_lists = ["-o", f"Dir::State::lists={lists}"]
    download = ["install", "--download-only", "--no-install-recommends", "postfix"]
    if _apt(*own, *download).returncode:  # A fresh system has no lists yet.
        _apt(*own, *own_lists, "update")
        _apt(*own, *own_lists, *download).check_returncode()
    for package in archives.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)


def _apt(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        ["apt-get", "-q", "-y", *arguments],
        check=False,
        capture_output=True,
        timeout=180,
    )


def _library_folders(folder: Path) -> list[Path]:
    return sorted({library.parent for library in folder.glob("usr/lib/**/*.so*")})


def _runs(found: Postfix) -> bool:
    """Whether the sink starts at all: its libraries may be missing."""
    try:
        done = subprocess.run([found.sink], env=found.environment, capture_output=True, check=False)
    except OSError:
        return False
    return b"usage" in done.stderr


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
