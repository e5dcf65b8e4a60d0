"""Services that go away, schedulers that are there twice, a consent that is withdrawn meanwhile."""

import random
import threading
import time
from collections import Counter
from contextlib import suppress
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from omnicrm import embedded

from . import house
from .house import House, wait_until
from .killing import _everybody_was_written_to, _is_sent
from .mail import MailServer
from .report import Report, Scale


def f4_database(scale: Scale) -> Report:
    """PostgreSQL restarted in immediate mode while sending: nobody lost, nobody twice, pages say 503."""
    mail, report, chance = MailServer(), Report(), random.Random(scale.seed)
    mail.delay = 0.005
    people, crashes = scale.pick(600, 20_000), scale.pick(2, 5)
    house.make_crowd(people)
    campaign = house.launch_campaign()
    points = house.moments(chance, people, crashes)
    with House(mail_port=mail.port) as product, _Visitor(product) as visitor:
        product.start_beat()
        product.start_workers(2)
        for point in points:
            wait_until(lambda point=point: len(mail.copies) >= point, what=f"mail {point}")
            embedded.crash_postgres()
            time.sleep(0.5)
            embedded.start_again()
            _reconnect()
        wait_until(lambda: _is_sent(campaign), what="the end of the campaign")
    _everybody_was_written_to(report, mail, campaign)
    report.exactly("repeats", mail.repeats(), 0)
    report.exactly("answers other than 200 or 503", visitor.strange(), 0)
    report.at_least("pages answered", visitor.answers[200], 1)
    return report


def f6_broker(scale: Scale) -> Report:
    """The broker flushed ten times, then absent: nobody lost, the queue goes on, pages still answer."""
    mail, report, chance = MailServer(), Report(), random.Random(scale.seed)
    mail.delay = 0.002
    people, flushes, absent = scale.pick(800, 10_000), 10, scale.pick(5, 600)
    house.make_crowd(people)
    campaign = house.launch_campaign()
    points = house.moments(chance, people * 3 // 4, flushes)
    with House(mail_port=mail.port) as product, _Visitor(product) as visitor:
        product.start_beat()
        product.start_workers(2)
        for point in points:
            wait_until(lambda point=point: len(mail.copies) >= point, what=f"mail {point}")
            house.broker().flushall()
        embedded.stop_valkey()
        before = visitor.answers[200]
        time.sleep(absent)
        answered_meanwhile = visitor.answers[200] - before
        embedded.start_again()
        back = time.monotonic()
        sent = len(mail.copies)
        wait_until(lambda: len(mail.copies) > sent or _is_sent(campaign), what="the queue to go on")
        resumed = time.monotonic() - back
        wait_until(lambda: _is_sent(campaign), what="the end of the campaign")
    _everybody_was_written_to(report, mail, campaign)
    report.exactly("repeats", mail.repeats(), 0)
    report.at_most("seconds to go on", resumed, 60)
    report.at_least("pages answered without a broker", answered_meanwhile, 1)
    report.exactly("answers other than 200", visitor.strange() + visitor.answers[503], 0)
    return report


def f7_doubles(scale: Scale) -> Report:
    """Two beats and two dispatchers in the same minute: every campaign is launched and sent once."""
    from django.utils.timezone import now

    from campaigns.models import Campaign, Message
    from campaigns.services import schedule_campaign
    from campaigns.tests.factories import make_campaign
    from core.tests.factories import make_user

    mail, report = MailServer(), Report()
    people, campaigns = scale.pick(50, 500), scale.pick(4, 20)
    house.make_crowd(people)
    by = make_user()
    for _ in range(campaigns):
        schedule_campaign(make_campaign().pk, send_at=now(), by=by)
    with House(mail_port=mail.port) as product:
        product.start_beat()
        product.start_beat()
        product.start_workers(2)
        sent = lambda: Campaign.objects.filter(status="sent").count()  # noqa: E731
        wait_until(lambda: sent() == campaigns, what="every campaign")
        time.sleep(7)  # Rings that came twice have been heard by now.
    report.exactly("messages planned", Message.objects.count(), people * campaigns)
    report.exactly("mails", len(mail.copies), people * campaigns)
    ids = Counter(copy.message_id for copy in mail.copies)
    report.exactly("mails sent twice", len(mail.copies) - len(ids), 0)
    return report


def f16_revoke(scale: Scale) -> Report:
    """Consent withdrawn by 1,000 people at random instants of a campaign: none is sent to afterwards."""
    from customers.models import Customer
    from customers.services import record_consent

    mail, report, chance = MailServer(), Report(), random.Random(scale.seed)
    mail.delay = 0.004
    people, revoking = scale.pick(600, 5_000), scale.pick(200, 1_000)
    house.make_crowd(people)
    campaign = house.launch_campaign()
    chosen = chance.sample(sorted(Customer.objects.values_list("pk", flat=True)), revoking)
    with House(mail_port=mail.port) as product:
        product.start_beat()
        product.start_workers(2)
        wait_until(lambda: len(mail.copies) > 0, what="the first mail")
        for customer in chosen:
            record_consent(customer, channel="email", state="revoked", source="phone call")
            time.sleep(chance.random() * 0.01)
        wait_until(lambda: _is_sent(campaign), what="the end of the campaign")
    held_back = campaign.messages.filter(customer__in=chosen, reason="revoked").count()
    report.exactly("sent after the withdrawal", _sent_after_withdrawal(), 0)
    report.at_least("held back because of it", held_back, 1)
    report.note("had been sent before it", revoking - held_back)
    return report


def _sent_after_withdrawal() -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT count(*) FROM campaigns_message AS message
               JOIN customers_consentevent AS said ON said.customer_id = message.customer_id
                AND said.channel = message.channel AND said.state = 'revoked'
               WHERE message.sending_at > said.recorded_at"""
        )
        return cursor.fetchone()[0]


def _reconnect() -> None:
    from django.db import connection

    connection.close()


class _Visitor:
    """Somebody who asks for a page all the time, and counts the answers."""

    def __init__(self, product: House) -> None:
        from django.urls import reverse

        from campaigns.tests.conftest import free_port

        self._page = reverse("account_login")
        self.answers: Counter[int] = Counter()
        self._port = free_port()
        self._stop = threading.Event()
        product.start_web(self._port)
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> "_Visitor":
        wait_until(lambda: self._status() == 200, what="the web server", seconds=60)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def strange(self) -> int:
        """Answers that are neither a page nor a plain "not now"."""
        return sum(count for status, count in self.answers.items() if status not in (200, 503))

    def _ask(self) -> None:
        while not self._stop.wait(0.1):
            if status := self._status():
                self.answers[status] += 1

    def _status(self) -> int:
        with suppress(URLError, OSError):
            try:
                with urlopen(f"http://127.0.0.1:{self._port}{self._page}", timeout=20) as answer:
                    return answer.status
            except HTTPError as error:
                return error.code
        return 0
