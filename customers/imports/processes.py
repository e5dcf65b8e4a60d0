"""Chunks of a long file, read and checked by another process while we write the ones before.

It is started as a program, not forked: that is safe beside the threads and connections of whoever imports,
allowed inside any kind of worker, and it ends by itself when its reader is gone, however that died. It reads
the file for itself, so nothing is sent but results, and no file can crash or fill the process that writes.
One is enough: reading a row takes it a fraction of what writing the row takes the database.
"""

import fcntl
import gc
import logging
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings
from django.db import connection
from django.utils import translation

from core.errors import DomainError

from .chunks import Chunk, Portions, RowReaders, read_chunks

log = logging.getLogger(__name__)
LONG_FILE = 16 * 1024 * 1024  # Bytes; a shorter one is read before a process would have started.
LONG_WORKBOOK = 2 * 1024 * 1024
PIPE_BYTES = 1024 * 1024
PROGRAM = """
import os, django
django.setup()
from customers.imports.processes import main
main()
"""


class Died(Exception):
    """The reading process ended before its work was done."""


@dataclass(frozen=True)
class Order:
    """What the process is told to do."""

    path: str
    portions: Portions
    importer: type[RowReaders]
    language: str
    database: str  # Where the names of stores and time zones are asked.


def chunks_of(file: BinaryIO, portions: Portions, importer: RowReaders) -> Generator[Chunk]:
    """The chunks of a file, from a process of their own when it is long; if that dies, from here."""
    path = getattr(file, "name", None)
    if not isinstance(path, str) or not _is_long(Path(path), portions):
        yield from read_chunks(file, portions, importer)
        return
    done = portions.skip
    try:
        with closing(_from_process(path, portions, type(importer))) as chunks:
            for chunk in chunks:
                done += chunk.size
                yield chunk
    except Died as died:
        log.warning("import reads by itself", extra={"reason": str(died), "rows": done})
        yield from read_chunks(file, replace(portions, skip=done), importer)


def _is_long(path: Path, portions: Portions) -> bool:
    least = LONG_WORKBOOK if portions.dialect.get("sheet") else LONG_FILE
    return path.is_file() and path.stat().st_size >= least


def _from_process(path: str, portions: Portions, importer: type[RowReaders]) -> Generator[Chunk]:
    language, database = translation.get_language() or "", str(connection.settings_dict["NAME"])
    with _started(Order(path, portions, importer, language, database)) as process:
        while chunk := _receive(process):
            yield chunk


@contextmanager
def _started(order: Order) -> "Iterator[subprocess.Popen[bytes]]":
    """The process while it is needed."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=PIPE_BYTES,
        cwd=settings.BASE_DIR,
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            with suppress(AttributeError, OSError):  # Not everywhere; with a shorter one it waits more often.
                fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            with suppress(BrokenPipeError), process.stdin:
                pickle.dump(order, process.stdin)
            yield process
        finally:
            process.kill()


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
    with suppress(BrokenPipeError), os.fdopen(os.dup(1), "wb", PIPE_BYTES) as out:
        os.dup2(2, 1)  # Nothing anybody prints may come between.
        order: Order = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by `_started`
        for found in _answers(order):
            pickle.dump(found, out, pickle.HIGHEST_PROTOCOL)
            out.flush()


def _answers(order: Order) -> Iterator[Any]:
    connection.settings_dict["NAME"] = order.database
    gc.freeze()
    gc.set_threshold(200_000, 50, 100)  # Rows make no cycles; looking for them costs as much as reading.
    try:
        with translation.override(order.language), Path(order.path).open("rb") as file:
            yield from read_chunks(file, order.portions, order.importer())
    except DomainError as error:
        yield error
    else:
        yield None
