"""A small mail server for when Postfix's is not to be had, and for looking at what arrives.

`python -m bench.sink [folder]` listens on a free local port and prints it. It takes everything, keeps
nothing, or with a folder one file per mail. It announces PIPELINING and answers a batch of commands at once.
"""

import asyncio
import sys
from pathlib import Path

ANSWERS = {b"MAIL": b"250 OK", b"RCPT": b"250 OK", b"RSET": b"250 OK", b"NOOP": b"250 OK"}


class Session(asyncio.Protocol):
    """One connection: commands line by line, then a body up to its lone dot."""

    folder: Path | None = None
    taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._waiting = bytearray()
        self._is_body = False
        transport.write(b"220 bench ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        replies: list[bytes] = []
        while (reply := self._next()) is not None:
            replies.append(reply)
        if replies:
            self._transport.write(b"".join(replies))

    def _next(self) -> bytes | None:
        """The reply to the next whole command or body, or None while there is none."""
        end, mark = (b"\r\n.\r\n", 5) if self._is_body else (b"\r\n", 2)
        found = self._waiting.find(end)
        if found < 0:
            return None
        part = bytes(self._waiting[:found])
        del self._waiting[: found + mark]
        if self._is_body:
            self._is_body = False
            self._keep(part)
            return b"250 OK\r\n"
        return self._answer(part)

    def _answer(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb in (b"EHLO", b"HELO"):
            return b"250-bench\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 50000000\r\n"
        if verb == b"DATA":
            self._is_body = True
            return b"354 go on\r\n"
        if verb == b"QUIT":
            self._transport.write(b"221 bye\r\n")
            self._transport.close()
            return b""
        return ANSWERS.get(verb, b"502 no") + b"\r\n"

    def _keep(self, mail: bytes) -> None:
        Session.taken += 1
        if self.folder:
            unstuffed = mail.replace(b"\r\n..", b"\r\n.")
            (self.folder / f"{Session.taken:07}.eml").write_bytes(unstuffed)


async def main() -> None:
    """Listen until killed."""
    if len(sys.argv) > 1:
        Session.folder = Path(sys.argv[1])
    server = await asyncio.get_running_loop().create_server(Session, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
