"""Chunks of a long file, read and checked by processes of their own while we write the ones before.

The processes are started as programs, not forked: that is safe beside the threads and connections of
whoever imports, allowed inside any kind of worker, and each ends by itself when its reader is gone, however
that died. They read the file for themselves, each its share of the chunks, so nothing is sent but results.
"""

import gc
import logging
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings
from django.db import connection
from django.utils import translation

from core.errors import DomainError

from .chunks import Chunk, Portions, RowReaders, read_chunks

log = logging.getLogger(__name__)
LONG_FILE = 16 * 1024 * 1024  # Bytes; a shorter one is read before a process would have started.
MOST_PROCESSES = 2  # One keeps a database busy; memory for more is not ours to take.
PIPE_BYTES = 1024 * 1024
PROGRAM = """
import os, django
django.setup()
from customers.imports.processes import main
main()
"""


class Died(Exception):
    """A reading process ended before its work was done."""


@dataclass(frozen=True)
class Order:
    """What one process is told to do."""

    path: str
    portions: Portions
    importer: type[RowReaders]
    part: int
    parts: int
    language: str
    database: str  # Where the names of stores and time zones are asked.


def chunks_of(file: BinaryIO, portions: Portions, importer: RowReaders) -> Generator[Chunk]:
    """The chunks of a file in their order, from processes when it is long; if those die, from here."""
    path = getattr(file, "name", None)
    if not isinstance(path, str) or not Path(path).is_file() or Path(path).stat().st_size < LONG_FILE:
        yield from read_chunks(file, portions, importer)
        return
    done = portions.skip
    try:
        with closing(_from_processes(path, portions, type(importer))) as chunks:
            for chunk in chunks:
                done += chunk.size
                yield chunk
    except Died as died:
        log.warning("import reads by itself", extra={"reason": str(died), "rows": done})
        yield from read_chunks(file, replace(portions, skip=done), importer)


def _from_processes(path: str, portions: Portions, importer: type[RowReaders]) -> Generator[Chunk]:
    parts = max(1, min(MOST_PROCESSES, len(os.sched_getaffinity(0)) - 1))
    language, database = translation.get_language() or "", str(connection.settings_dict["NAME"])
    orders = [Order(path, portions, importer, part, parts, language, database) for part in range(parts)]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for order in orders:
            running.append(_start(order))
        for process in cycle(running):
            found = _receive(process)
            if found is None:
                return
            yield found
    finally:
        for process in running:
            process.kill()
            with process:
                pass  # Closes the pipe and waits.


def _start(order: Order) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=PIPE_BYTES,
        cwd=settings.BASE_DIR,
    )
    assert process.stdin
    with suppress(BrokenPipeError), process.stdin as stdin:
        pickle.dump(order, stdin)
    return process


def _receive(process: "subprocess.Popen[bytes]") -> Chunk | None:
    """The next chunk of a process, None when there are no more. Raises what it raised, or Died."""
    assert process.stdout
    try:
        found = pickle.load(process.stdout)  # noqa: S301 - written by `main`
    except (EOFError, pickle.UnpicklingError) as error:
        raise Died(f"exit status {process.wait()}") from error
    if isinstance(found, Exception):
        raise found
    assert found is None or isinstance(found, Chunk)
    return found


def main() -> None:
    """Do what the order on standard input says; write the chunks to standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started us; without them we end.
    with suppress(OSError, BrokenPipeError), os.fdopen(os.dup(1), "wb", PIPE_BYTES) as out:
        os.dup2(2, 1)  # Nothing anybody prints may come between.
        order: Order = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by `_start`
        for found in _answers(order):
            pickle.dump(found, out, pickle.HIGHEST_PROTOCOL)
            out.flush()


def _answers(order: Order) -> Iterator[Any]:
    connection.settings_dict["NAME"] = order.database
    gc.freeze()
    gc.set_threshold(200_000, 50, 100)  # Rows make no cycles; looking for them costs as much as reading.
    try:
        with translation.override(order.language), Path(order.path).open("rb") as file:
            yield from read_chunks(file, order.portions, order.importer(), part=order.part, parts=order.parts)
    except DomainError as error:
        yield error
    else:
        yield None
