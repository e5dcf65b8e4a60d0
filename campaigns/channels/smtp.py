"""An SMTP client that keeps the line busy: one round trip a mail, over a few connections at once.

Python's own smtplib opens the connection, greets, starts TLS and signs in; from there the commands are
pipelined (RFC 2920): the text of a mail, its final dot and the next mail's MAIL, RCPT and DATA leave in one
write. Every answer is read and belongs to one command. A server without PIPELINING gets them one by one.
"""

import select
import smtplib
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

READ_SIZE = 65536
GIVE_UP_AFTER = 3  # Refusals of the server's own, in a row.


class ServerDown(Exception):
    """No connection, or the server wants none: nothing was sent. Carries the server's words."""


class Reply(NamedTuple):
    """A server's answer to one command."""

    code: int
    text: str

    @property
    def is_ok(self) -> bool:
        return 200 <= self.code < 400

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


@dataclass(slots=True)
class Delivery:
    """One mail for one receiver, and what became of it.

    `stage` says which command `reply` answers: 'mail', 'rcpt', 'data' or 'done'. Without a reply the mail
    was not begun, unless `is_in_doubt`: its text had left when the line broke. `problem` is why.
    """

    key: int
    sender: str
    to: str
    content: bytes
    stage: str = ""
    reply: Reply | None = None
    is_in_doubt: bool = False
    problem: str = ""

    @property
    def is_begun(self) -> bool:
        return self.reply is not None or self.is_in_doubt

    @property
    def speaks_of_server(self) -> bool:
        """Whether the refusal is about the server or our account, and says nothing about the mail."""
        if self.reply is None or self.reply.is_ok:
            return False
        return self.stage == "mail" or self.reply.code in (421, 530, 535)


@dataclass(frozen=True)
class Server:
    """Where mail goes, and how to get in; `timeout` is seconds without a sign of life."""

    host: str
    port: int
    user: str = ""
    password: str = ""
    use_tls: bool = False  # STARTTLS
    use_ssl: bool = False
    timeout: float = 15.0


Answer = Callable[[Reply], None]


class Session:
    """One connection: what it still has to say, and whom the next answers are for."""

    def __init__(self, sock: Any, *, is_pipelined: bool) -> None:
        self.sock = sock
        self.broken = ""  # Why no more can be said.
        self.sent = 0  # Mails taken in the life of the connection.
        self.refusals = 0  # In a row, of the server's own.
        self._is_pipelined = is_pipelined
        self._mails: deque[Delivery] = deque()
        self._current: Delivery | None = None
        self._ahead: Delivery | None = None  # Its envelope is under way behind the current mail's text.
        self._refusal: tuple[str, Reply] | None = None
        self._has_text_left = False
        self._is_stopping = False
        self._commands: deque[tuple[bytes, Answer]] = deque()
        self._answers: deque[Answer] = deque()
        self._unsent: list[bytes] = []
        self._unread = b""
        self._reply_lines: list[str] = []

    # --- the conversation ------------------------------------------------------------------------

    def begin(self, mails: list[Delivery]) -> None:
        """Take mails to send; the session must be idle."""
        self._mails.extend(mails)
        self._is_stopping = False
        self._advance()

    @property
    def is_idle(self) -> bool:
        return self._current is None and not self._answers

    def stop(self) -> None:
        """Begin no more mails."""
        self._mails.clear()
        self._is_stopping = True

    def fail(self, why: str) -> None:
        """The line is lost: the mail whose text may have left is in doubt, the others are not begun."""
        self.broken = why or "the connection was lost"
        if self._current is not None:
            self._current.is_in_doubt = self._has_text_left
        for mail in (self._current, self._ahead, *self._mails):
            if mail is not None:
                mail.problem = self.broken
        self._mails.clear()
        self._current = self._ahead = None

    def _advance(self) -> None:
        """Turn to the next mail."""
        self._refusal, self._has_text_left = None, False
        if self._ahead is not None:
            self._current, self._ahead = self._ahead, None
        else:
            self._current = self._mails.popleft() if self._mails else None
            self._address(self._current)

    def _address(self, mail: Delivery | None) -> None:
        if mail is not None:
            self._say(
                (f"MAIL FROM:<{mail.sender}>\r\n".encode(), self._on_mail),
                (f"RCPT TO:<{mail.to}>\r\n".encode(), self._on_rcpt),
                (b"DATA\r\n", self._on_data),
            )

    def _on_mail(self, reply: Reply) -> None:
        if not reply.is_ok:
            self._refusal = ("mail", reply)

    def _on_rcpt(self, reply: Reply) -> None:
        if not reply.is_ok and self._refusal is None:
            self._refusal = ("rcpt", reply)

    def _on_data(self, reply: Reply) -> None:
        assert self._current is not None
        if reply.code == 354 and self._refusal is None:
            if self._is_stopping:
                self.fail("stopped")  # Too late to take DATA back; a line that closes sends nothing.
            else:
                self._send_text(self._current)
            return
        self._settle(self._refusal or ("data", reply))
        if reply.code == 354:  # Nobody takes it, yet the server waits for its text (RFC 2920, 3.1).
            self._say((b".\r\n", _ignore))
        self._say((b"RSET\r\n", _ignore))
        self._advance()

    def _send_text(self, mail: Delivery) -> None:
        self._has_text_left = True
        self._unsent.append(mail.content)
        self._say((b".\r\n", self._on_done))
        if self._is_pipelined and self._mails:
            self._ahead = self._mails.popleft()
            self._address(self._ahead)

    def _on_done(self, reply: Reply) -> None:
        self._settle(("done", reply))
        self._advance()

    def _settle(self, verdict: tuple[str, Reply]) -> None:
        mail = self._current
        assert mail is not None
        mail.stage, mail.reply = verdict
        self.sent += mail.reply.is_ok
        self.refusals = self.refusals + 1 if mail.speaks_of_server else 0

    def _say(self, *commands: tuple[bytes, Answer]) -> None:
        if self._is_pipelined:
            for command in commands:
                self._say_now(*command)
        else:
            self._commands.extend(commands)
            self._say_next()

    def _say_next(self) -> None:
        if self._commands and not self._answers:
            self._say_now(*self._commands.popleft())

    def _say_now(self, command: bytes, answer: Answer) -> None:
        self._unsent.append(command)
        self._answers.append(answer)

    # --- the wire --------------------------------------------------------------------------------

    @property
    def wants_to_write(self) -> bool:
        return bool(self._unsent)

    def write(self) -> None:
        """Send what the socket takes now."""
        data = b"".join(self._unsent)
        self._unsent = [data]
        try:
            sent = self.sock.send(data)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            self.fail(str(error))
            return
        self._unsent = [data[sent:]] if sent < len(data) else []

    def read(self) -> None:
        """Read what has arrived and act on every complete answer."""
        try:
            data = self.sock.recv(READ_SIZE)
            while isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
                data += self.sock.recv(READ_SIZE)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            self.fail(str(error))
            return
        if not data:
            self.fail("the server hung up")
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            if not self.broken:
                self._take_line(line)

    def _take_line(self, line: bytes) -> None:
        try:
            reply, goes_on = _read_line(line)
        except ValueError as error:
            self.fail(f"not an SMTP answer: {error}")
            return
        if goes_on or self._reply_lines:
            self._reply_lines.append(reply.text)
            reply = Reply(reply.code, " ".join(self._reply_lines))
        if not goes_on:
            self._reply_lines = []
            self._take_reply(reply)

    def _take_reply(self, reply: Reply) -> None:
        if self._answers:
            self._answers.popleft()(reply)
        if reply.code == 421:  # May come unasked; nothing can be said after it.
            self.fail(str(reply))
        if self._commands:
            self._say_next()


@lru_cache(maxsize=500)
def _read_line(line: bytes) -> tuple[Reply, bool]:
    """What a line says, and whether the answer goes on after it; raises ValueError.

    Servers say a few things again and again.
    """
    text = line.decode(errors="replace").rstrip("\r")
    code, mark = text[:3], text[3:4]
    if not (code.isascii() and code.isdigit()) or mark not in ("", " ", "-"):
        raise ValueError(text[:80])
    return Reply(int(code), text[4:]), mark == "-"


def _ignore(reply: Reply) -> None:
    """The answer to a command whose outcome is known already."""


class Pool:
    """A few connections to one server, opened when needed and kept until closed."""

    def __init__(self, server: Server, *, connections: int) -> None:
        self._server = server
        self._size = connections
        self._sessions: list[Session] = []

    def send(self, mails: list[Delivery], *, deadline: float) -> None:
        """Send mails and fill in what became of each. Past `deadline` (time.monotonic) none is begun.

        A server that took some and then hung up, as many do after a hundred, gets a new connection once.
        Raises ServerDown when nobody answers; mails already sent have their replies then.
        """
        self._send_over(mails, deadline)
        again = [mail for mail in mails if mail.problem and not mail.is_begun]
        some_taken = any(mail.reply and mail.reply.is_ok for mail in mails)
        if again and some_taken and time.monotonic() < deadline:
            for mail in again:
                mail.problem = ""
            self._send_over(again, deadline)

    def close(self) -> None:
        """Say goodbye."""
        for session in self._sessions:
            try:
                session.sock.settimeout(1)
                session.sock.sendall(b"QUIT\r\n")
            except OSError:
                pass  # It will notice.
            session.sock.close()
        self._sessions = []

    def _send_over(self, mails: list[Delivery], deadline: float) -> None:
        self._open(min(self._size, len(mails)))
        sessions = self._sessions[: len(mails)]
        for number, session in enumerate(sessions):
            session.begin(mails[number :: len(sessions)])
        self._converse(sessions, deadline)
        for session in [one for one in self._sessions if one.broken]:
            self._sessions.remove(session)
            session.sock.close()

    def _converse(self, sessions: list[Session], deadline: float) -> None:
        heard = time.monotonic()
        while busy := [one for one in sessions if not one.broken and not one.is_idle]:
            writers = [one.sock for one in busy if one.wants_to_write]
            readable, writable, _ = select.select([one.sock for one in busy], writers, [], 1.0)
            now = time.monotonic()
            if readable or writable:
                heard = now
            for session in busy:
                if now - heard > self._server.timeout:
                    session.fail("the server stopped answering")
                elif now > deadline or session.refusals >= GIVE_UP_AFTER:
                    session.stop()
                if session.sock in readable and not session.broken:
                    session.read()
                if session.wants_to_write and not session.broken:
                    session.write()

    def _open(self, wanted: int) -> None:
        while len(self._sessions) < wanted:
            try:
                self._sessions.append(connect(self._server))
            except ServerDown:
                if not self._sessions:
                    raise
                return  # The server allows fewer connections than we do.


def connect(server: Server) -> Session:
    """Open a connection as far as the first MAIL. Raises ServerDown."""
    try:
        kind = smtplib.SMTP_SSL if server.use_ssl else smtplib.SMTP
        smtp = kind(server.host, server.port, timeout=server.timeout)
        smtp.ehlo_or_helo_if_needed()
        if server.use_tls:
            smtp.starttls(context=ssl.create_default_context())
            smtp.ehlo()
        if server.user:
            smtp.login(server.user, server.password)
    except smtplib.SMTPResponseException as error:
        words = error.smtp_error
        text = words.decode(errors="replace") if isinstance(words, bytes) else words
        raise ServerDown(f"{error.smtp_code} {text}") from error
    except (smtplib.SMTPException, OSError) as error:
        raise ServerDown(str(error)) from error
    assert smtp.sock is not None
    smtp.sock.setblocking(False)
    return Session(smtp.sock, is_pipelined=smtp.has_extn("pipelining"))
