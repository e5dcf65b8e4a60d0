"""A TCP proxy that can be told to be a bad line: slow, silent, half closed, or cut after some bytes."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any


@dataclass
class Line:
    """How the line behaves; may be changed while connections are open. Bytes count per connection."""

    delay: float = 0.0  # Seconds each piece waits, both ways.
    drops_answers: bool = False  # What the server says never arrives.
    half_closes_after: int | None = None  # After so many bytes from the client it hears no more from it.
    resets_after: int | None = None  # After so many bytes from the client both sides get a reset.
    refuses: bool = False  # New connections are reset at once.


class Proxy:
    """Listens on a free port of 127.0.0.1 and passes everything on to `port`, as `line` allows."""

    def __init__(self, port: int) -> None:
        self.line = Line()
        self.connections = 0
        self._target = port
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        started = threading.Event()
        threading.Thread(target=self._serve, args=(started,), daemon=True).start()
        started.wait(10)

    def reset_all(self) -> None:
        """Cut every open connection with a reset."""
        self._call(lambda: [_reset(writer) for writer in list(self._open)])

    def close(self) -> None:
        self.reset_all()
        self._call(self._loop.stop)

    def _call(self, function: Callable[[], Any]) -> None:
        self._loop.call_soon_threadsafe(function)

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connect, "127.0.0.1", 0))
        self.port: int = server.sockets[0].getsockname()[1]
        started.set()
        self._loop.run_forever()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.line.refuses:
            _reset(writer)
            return
        try:
            behind, ahead = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            _reset(writer)
            return
        self._open |= {writer, ahead}
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(self._up(reader, ahead, writer), self._down(behind, writer))
        for one in (writer, ahead):
            self._open.discard(one)
            one.close()

    async def _up(
        self, reader: asyncio.StreamReader, ahead: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        passed = 0
        while data := await reader.read(65536):
            line = self.line
            await asyncio.sleep(line.delay)
            if line.resets_after is not None and passed + len(data) > line.resets_after:
                ahead.write(data[: max(line.resets_after - passed, 0)])
                _reset(ahead)
                _reset(client)
                return
            if line.half_closes_after is not None and passed + len(data) > line.half_closes_after:
                ahead.write(data[: max(line.half_closes_after - passed, 0)])
                ahead.write_eof()
                return
            passed += len(data)
            ahead.write(data)
            await ahead.drain()
        if ahead.can_write_eof():
            ahead.write_eof()

    async def _down(self, behind: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await behind.read(65536):
            await asyncio.sleep(self.line.delay)
            if not self.line.drops_answers:
                writer.write(data)
                await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side gets a reset instead of an end."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
