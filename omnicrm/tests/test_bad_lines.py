"""Mail over lines that are slow, silent, half closed or cut: what is in doubt is said, nothing is made up."""

import time
from collections.abc import Iterator

import pytest

from campaigns.channels.smtp import Delivery, Pool, Server
from faults.mail import MailServer
from faults.proxy import Proxy

TEXT = b"Subject: x\r\nMessage-ID: <%d@x.example>\r\n\r\n" + b"hello\r\n" * 400


@pytest.fixture
def server() -> MailServer:
    return MailServer()


@pytest.fixture
def proxy(server: MailServer) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


def mails(count: int) -> list[Delivery]:
    return [Delivery(n, "shop@x.example", f"p{n}@x.example", TEXT % n) for n in range(count)]


def send(proxy: Proxy, batch: list[Delivery], *, timeout: float = 5) -> None:
    pool = Pool(Server("127.0.0.1", proxy.port, timeout=timeout), connections=1)
    try:
        pool.send(batch, deadline=time.monotonic() + 60)
    finally:
        pool.close()


def accepted(batch: list[Delivery]) -> set[str]:
    return {mail.to for mail in batch if mail.reply and mail.reply.is_ok}


def test_a_slow_line_loses_nothing(server, proxy):
    proxy.line.delay = 0.03
    batch = mails(6)
    send(proxy, batch)
    assert accepted(batch) == set(server.receivers) == {f"p{n}@x.example" for n in range(6)}


@pytest.mark.parametrize("cut", [0, 40, 1_500, 4_000, 9_000])
def test_a_line_cut_anywhere_leaves_at_most_one_mail_in_doubt(server, proxy, cut):
    proxy.line.resets_after = 600 + cut
    batch = mails(5)
    send(proxy, batch)

    doubtful = {mail.to for mail in batch if mail.is_in_doubt}
    assert accepted(batch) <= set(server.receivers)
    assert set(server.receivers) <= accepted(batch) | doubtful
    assert len(doubtful) <= proxy.connections
    assert all(mail.problem for mail in batch if mail.to not in accepted(batch))


def test_answers_that_never_come_leave_the_mail_in_doubt(server, proxy):
    pool = Pool(Server("127.0.0.1", proxy.port, timeout=0.5), connections=1)
    first, second = mails(2)
    pool.send([first], deadline=time.monotonic() + 60)
    proxy.line.drops_answers = True
    pool.send([second], deadline=time.monotonic() + 60)

    assert first.reply is not None
    assert second.reply is None
    assert "stopped answering" in second.problem


def test_a_half_closed_line_sends_nothing_twice(server, proxy):
    proxy.line.half_closes_after = 3_300
    batch = mails(3)
    send(proxy, batch, timeout=1)
    assert all(count == 1 for count in server.receivers.values())
    assert accepted(batch) <= set(server.receivers)
