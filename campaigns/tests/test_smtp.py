"""Our SMTP client against a server that answers what the test tells it to."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from campaigns.channels.email import refusal
from campaigns.channels.smtp import Delivery, Pool, Reply, Server, ServerDown

Script = Callable[[str], bytes | None]


class Scripted:
    """A mail server on a free port. `answer(command)` gives the reply, None hangs up; texts arrive as
    "TEXT <lines>". It notes how many commands came in one packet: a client that waits sends one."""

    def __init__(self, answer: Script, *, pipelining: bool) -> None:
        self.answer, self.pipelining = answer, pipelining
        self.commands: list[str] = []
        self.most_at_once = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._talk, args=(line,), daemon=True).start()

    def _talk(self, line: socket.socket) -> None:
        with suppress(OSError), line:  # The client may close first.
            self._converse(line)

    def _converse(self, line: socket.socket) -> None:
        line.sendall(b"220 ready\r\n")
        waiting, text = b"", None
        while data := line.recv(1 << 20):
            waiting += data
            self.most_at_once = max(self.most_at_once, data.count(b"\r\nMAIL") + data.count(b"\r\nRCPT"))
            while b"\r\n" in waiting:
                raw, waiting = waiting.split(b"\r\n", 1)
                if text is not None and raw != b".":
                    text.append(raw)
                    continue
                command = raw.decode() if text is None else f"TEXT {len(text)}"
                text = None
                reply = self._reply(command)
                if reply is None:
                    return
                if reply.startswith(b"354"):
                    text = []
                line.sendall(reply + b"\r\n")

    def _reply(self, command: str) -> bytes | None:
        if command.upper().startswith("EHLO"):
            return b"250-here\r\n250 PIPELINING" if self.pipelining else b"250 here"
        self.commands.append(command)
        return self.answer(command)


def polite(command: str) -> bytes | None:
    return b"354 go on" if command == "DATA" else b"250 2.0.0 fine"


@pytest.fixture(params=[True, False], ids=["pipelined", "one by one"])
def serve(request) -> Iterator[Callable[[Script], Scripted]]:
    servers: list[Scripted] = []

    def start(answer: Script = polite) -> Scripted:
        servers.append(Scripted(answer, pipelining=request.param))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def mails(count: int) -> list[Delivery]:
    return [
        Delivery(n, "shop@x.example", f"p{n}@x.example", b"Subject: x\r\n\r\nhello\r\n") for n in range(count)
    ]


def send(server: Scripted, batch: list[Delivery], *, connections: int = 1, timeout: float = 5) -> None:
    pool = Pool(Server("127.0.0.1", server.port, timeout=timeout), connections=connections)
    try:
        pool.send(batch, deadline=time.monotonic() + 30)
    finally:
        pool.close()


def verdicts(batch: list[Delivery]) -> list[tuple[str, int]]:
    return [(mail.stage, mail.reply.code if mail.reply else 0) for mail in batch]


@pytest.mark.parametrize("connections", [1, 3])
def test_every_mail_is_sent_once(serve, connections):
    server, batch = serve(), mails(20)
    send(server, batch, connections=connections)
    assert set(verdicts(batch)) == {("done", 250)}
    receivers = [command for command in server.commands if command.startswith("RCPT")]
    assert sorted(receivers) == sorted(f"RCPT TO:<p{n}@x.example>" for n in range(20))
    assert server.connections == connections


def test_the_next_envelope_travels_behind_a_text_only_where_the_server_allows(serve):
    server = serve()
    send(server, mails(3))
    assert server.most_at_once == (2 if server.pipelining else 0)


def test_a_refused_receiver_costs_the_others_nothing(serve):
    server = serve(lambda command: b"550 5.1.1 nobody" if "p1@" in command else polite(command))
    batch = mails(4)
    send(server, batch)
    assert verdicts(batch) == [("done", 250), ("rcpt", 550), ("done", 250), ("done", 250)]


def test_a_server_that_wants_text_for_nobody_gets_a_lone_dot(serve):
    texts: list[str] = []

    def answer(command: str) -> bytes | None:
        if command.startswith("TEXT"):
            texts.append(command)
        return b"550 5.1.1 nobody" if command.startswith("RCPT") else polite(command)

    batch = mails(2)
    send(serve(answer), batch)
    assert verdicts(batch) == [("rcpt", 550), ("rcpt", 550)]
    assert set(texts) == {"TEXT 0"}


def test_refused_data_sends_no_text(serve):
    server = serve(lambda command: b"554 5.7.1 no" if command == "DATA" else polite(command))
    batch = mails(2)
    send(server, batch)
    assert verdicts(batch) == [("data", 554), ("data", 554)]
    assert not [command for command in server.commands if command.startswith("TEXT")]


def test_a_line_that_breaks_under_a_text_leaves_one_mail_in_doubt(serve):
    seen: list[str] = []

    def answer(command: str) -> bytes | None:
        seen.append(command)
        taken = sum(one.startswith("TEXT") for one in seen)
        return None if command.startswith("TEXT") and taken == 2 else polite(command)

    batch = mails(5)
    send(serve(answer), batch)
    assert [mail.is_in_doubt for mail in batch] == [False, True, False, False, False]
    assert [mail.reply is not None for mail in batch] == [True, False, True, True, True]


def test_a_server_that_takes_two_mails_a_connection_gets_another_one(serve):
    count = 0

    def answer(command: str) -> bytes | None:
        nonlocal count
        count += command.startswith("TEXT")
        return b"421 4.3.2 enough" if command.startswith("MAIL") and count == 2 else polite(command)

    batch = mails(2 + 1)
    send(serve(answer), batch)
    assert verdicts(batch)[:2] == [("done", 250), ("done", 250)]
    assert not batch[2].is_in_doubt


def test_after_three_refusals_of_the_servers_own_no_more_is_tried(serve):
    server = serve(lambda command: b"451 4.3.0 overloaded" if command.startswith("MAIL") else b"503 no")
    batch = mails(8)
    send(server, batch)
    tried = [mail for mail in batch if mail.reply]
    assert 3 <= len(tried) <= 4
    assert all(mail.speaks_of_server for mail in tried)


def test_a_server_that_falls_silent_is_left(serve):
    server = serve(
        lambda command: time.sleep(3) or b"250 late" if command.startswith("TEXT") else polite(command)
    )
    batch = mails(2)
    send(server, batch, timeout=0.3)
    assert batch[0].is_in_doubt
    assert not batch[1].is_begun


def test_nothing_is_begun_after_the_deadline(serve):
    server, batch = serve(), mails(5)
    pool = Pool(Server("127.0.0.1", server.port), connections=1)
    pool.send(batch, deadline=time.monotonic() - 1)
    assert not any(command.startswith("TEXT") for command in server.commands)
    assert not any(mail.is_begun for mail in batch)


def test_no_server_is_said_plainly():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(ServerDown, match="refused"):
            Pool(Server("127.0.0.1", closed.getsockname()[1]), connections=2).send(mails(1), deadline=9e9)


@pytest.mark.parametrize(
    ("stage", "code", "text", "expected"),
    [
        ("rcpt", 550, "5.1.1 No such user", ("bounced", "bad_address")),
        ("rcpt", 550, "no such user", ("bounced", "bad_address")),
        ("rcpt", 550, "5.2.1 Mailbox disabled", ("bounced", "bad_address")),
        ("rcpt", 552, "5.2.2 Over quota", ("failed", "mailbox_full")),
        ("rcpt", 550, "5.7.1 Blocked by policy", ("failed", "spam")),
        ("done", 554, "Message looks like spam", ("failed", "spam")),
        ("done", 550, "5.1.1 No such user after all", ("bounced", "bad_address")),
        ("rcpt", 450, "4.2.0 Greylisted", ("planned", "try_later")),
        ("done", 451, "4.3.0 Try again", ("planned", "try_later")),
        ("rcpt", 500, "5.5.2 What?", ("failed", "refused")),
    ],
)
def test_a_refusal_means_what_its_codes_say(stage, code, text, expected):
    found = refusal(1, Reply(code, text), stage=stage, of_server=False)
    assert (found.status, found.reason) == expected


def test_a_refusal_of_our_account_is_the_providers_failure():
    found = refusal(1, Reply(535, "5.7.8 Bad credentials"), stage="mail", of_server=True)
    assert (found.status, found.reason) == ("planned", "provider_error")
