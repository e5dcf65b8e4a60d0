"""A mail server that remembers every copy it took, and can be told to be slow or unwilling."""

import asyncio
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

_MESSAGE_ID = re.compile(rb"^Message-ID: <([^>]*)>", re.I | re.M)


@dataclass(frozen=True)
class Copy:
    """One accepted mail."""

    at: float  # time.monotonic
    to: str
    message_id: str


class MailServer:
    """Listens on a free port of 127.0.0.1; pipelines; `copies` in the order of acceptance."""

    def __init__(self) -> None:
        self.copies: list[Copy] = []
        self.delay = 0.0  # Seconds between taking a mail and saying so.
        self.refusal = ""  # Said instead of taking a mail: "451 4.3.0 not now".
        started = threading.Event()
        threading.Thread(target=self._serve, args=(started,), daemon=True).start()
        started.wait(10)

    @property
    def receivers(self) -> Counter[str]:
        """How many copies each address got."""
        return Counter(copy.to for copy in self.copies)

    def repeats(self) -> int:
        """Copies beyond the first of each address."""
        return len(self.copies) - len(self.receivers)

    def longest_silence(self) -> float:
        """Seconds between two copies, at most."""
        times = [copy.at for copy in self.copies]
        return max((after - before for before, after in pairwise(times)), default=0.0)

    def _serve(self, started: threading.Event) -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(asyncio.start_server(self._talk, "127.0.0.1", 0, limit=1 << 24))
        self.port: int = server.sockets[0].getsockname()[1]
        started.set()
        loop.run_forever()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"220 faults\r\n")
            to = ""
            while line := await reader.readline():
                verb = line[:4].upper()
                if verb == b"RCPT":
                    to = line.decode().partition("<")[2].partition(">")[0]
                if verb == b"DATA":
                    writer.write(b"354 go on\r\n")
                    writer.write(await self._take(to, await reader.readuntil(b"\r\n.\r\n")))
                elif verb == b"EHLO":
                    writer.write(b"250-faults\r\n250 PIPELINING\r\n")
                elif verb == b"QUIT":
                    break
                else:
                    writer.write(b"250 OK\r\n")
        except (OSError, asyncio.IncompleteReadError):
            pass  # The sender was killed.
        finally:
            writer.close()

    async def _take(self, to: str, mail: bytes) -> bytes:
        if self.refusal:
            return self.refusal.encode() + b"\r\n"
        found = _MESSAGE_ID.search(mail)
        self.copies.append(Copy(time.monotonic(), to, found[1].decode() if found else ""))
        await asyncio.sleep(self.delay)
        return b"250 OK\r\n"
