"""Workers that are killed, stopped, told to end or crash over a message."""

import random
import signal
import time
from collections.abc import Iterable
from contextlib import suppress

from django.db.models import Count
from django.db.models.functions import Now

from . import house
from .house import House, wait_until
from .mail import MailServer
from .report import Report, Scale

IN_DOUBT = 8  # Messages of one process that may have left without our knowing.
PROCESSES = 2  # Of each worker, as docs/runbook.md starts them.


def f1_kill(scale: Scale) -> Report:
    """SIGKILL all workers at random points of a campaign: nobody is forgotten, few are written to twice."""
    mail, report, chance = MailServer(), Report(), random.Random(scale.seed)
    mail.delay = 0.005
    people, kills, workers = scale.pick(2_000, 20_000), scale.pick(3, 20), scale.pick(1, 2)
    house.make_crowd(people)
    campaign = house.launch_campaign()
    with House(mail_port=mail.port) as product:
        product.start_beat()
        killed = _send_while_killing(product, mail, house.moments(chance, people, kills), workers)
        wait_until(lambda: _is_sent(campaign), what="the end of the campaign")
    seconds = mail.copies[-1].at - mail.copies[0].at
    _everybody_was_written_to(report, mail, campaign)
    report.at_most("repeats", mail.repeats(), IN_DOUBT * killed)
    report.at_most("copies of one mail", max(mail.receivers.values()), 3)
    if not scale.short:
        report.at_least("mails a second", people / seconds, 150)
        report.note("longest silence, seconds", mail.longest_silence())
    return report


def f2_park(scale: Scale) -> Report:
    """F1 where mail in doubt is parked instead of sent again: nobody twice, every doubt visible."""
    mail, report, chance = MailServer(), Report(), random.Random(scale.seed)
    mail.delay = 0.005
    people, kills, workers = scale.pick(1_000, 20_000), scale.pick(3, 20), scale.pick(1, 2)
    house.make_crowd(people)
    campaign = house.launch_campaign()
    with House(mail_port=mail.port, PARK_WHEN_IN_DOUBT="email,sms") as product:
        product.start_beat()
        killed = _send_while_killing(product, mail, house.moments(chance, people, kills), workers)
        wait_until(lambda: _is_sent(campaign), what="the end of the campaign")
    parked = set(campaign.messages.filter(status="unknown").values_list("address", flat=True))
    missing = set(campaign.messages.values_list("address", flat=True)) - set(mail.receivers)
    report.exactly("repeats", mail.repeats(), 0)
    report.exactly("missing and not parked", len(missing - parked), 0)
    report.at_most("parked", len(parked), killed)
    return report


def f8_end(scale: Scale) -> Report:
    """SIGTERM under load: workers end in time, hand back what they hold, and nobody is written to twice."""
    mail, report = MailServer(), Report()
    mail.delay = 0.1
    people = scale.pick(2_500, 10_000)
    house.make_crowd(people)
    campaign = house.launch_campaign()
    with House(mail_port=mail.port) as product:
        product.start_beat()
        workers = product.start_workers(1) + product.start_workers(1, processes=PROCESSES)
        wait_until(lambda: _senders(campaign) == 1 + PROCESSES, what="all of them to send")
        sent = len(mail.copies)
        for worker in workers:
            worker.end()
        slowest = max(worker.wait(120) for worker in workers)
        held, sent = _held(campaign).count(), len(mail.copies) - sent
        mail.delay = 0.005
        product.start_workers(2)
        wait_until(lambda: _is_sent(campaign), what="the end of the campaign")
    _everybody_was_written_to(report, mail, campaign)
    report.at_most("mails sent after the word", sent, 2 * IN_DOUBT * (1 + PROCESSES))
    report.at_most("seconds to end", slowest, 30)
    report.exactly("messages still held", held, 0)
    report.exactly("repeats", mail.repeats(), 0)
    return report


def f9_freeze(scale: Scale) -> Report:
    """SIGSTOP workers until their leases are over, then wake them: hardly a repeat, no stale status."""
    mail, report = MailServer(), Report()
    mail.delay = 0.005
    people, rounds = scale.pick(600, 5_000), scale.pick(1, 5)
    house.make_crowd(people)
    campaign = house.launch_campaign()
    connections = 4
    with House(mail_port=mail.port, EMAIL_CONNECTIONS=str(connections)) as product:
        product.start_beat()
        sleepers = product.start_workers(2)
        for number in range(rounds):
            wait_until(lambda n=number: len(mail.copies) > people * (n + 1) // (rounds + 2), what="load")
            for worker in sleepers:
                worker.signal(signal.SIGSTOP)
            time.sleep(house.LEASE + 1)
            others = product.start_workers(1)
            # What a sleeper was just writing stays locked until it wakes; the rest is taken from it.
            with suppress(AssertionError):
                wait_until(lambda: not _lapsed(campaign), what="the leases to be recovered", seconds=15)
            for worker in sleepers:
                worker.signal(signal.SIGCONT)
            for worker in others:
                worker.end()
                worker.wait(60)
        wait_until(lambda: _is_sent(campaign), what="the end of the campaign")
    _everybody_was_written_to(report, mail, campaign)
    report.at_most("repeats", mail.repeats(), len(sleepers) * rounds * IN_DOUBT)
    report.exactly("messages not sent in the end", campaign.messages.exclude(status="sent").count(), 0)
    return report


def f11_poison(scale: Scale) -> Report:
    """A message whose text crashes the interpreter: set aside after three workers, the others arrive."""
    mail, report = MailServer(), Report()
    people = scale.pick(200, 5_000)
    house.make_crowd(people)
    campaign = house.launch_campaign()
    poison = campaign.messages.order_by("?").values_list("address", flat=True)[0]
    with House(mail_port=mail.port, FAULTS_POISON=poison) as product:
        product.start_beat()
        deaths = 0
        product.start_workers(2, module="faults.poisoned")

        def is_over() -> bool:
            nonlocal deaths
            dead = [worker for worker in product.workers if not worker.is_running]
            deaths += len(dead)
            for worker in dead:
                product.workers.remove(worker)
                product.start_workers(1, module="faults.poisoned")
            return _is_sent(campaign)

        wait_until(is_over, what="the end of the campaign")
    reasons = campaign.messages.filter(address=poison).values_list("status", "reason")
    report.exactly("set aside as poison", list(reasons) == [("failed", "poison")], 1)
    report.exactly("others who got theirs", len(mail.receivers), people - 1)
    report.exactly("workers it killed", deaths, 3)
    return report


def _send_while_killing(product: House, mail: MailServer, points: Iterable[int], workers: int) -> int:
    """Kill all workers whenever so many mails are in, and start new ones; how many processes were killed."""
    product.start_workers(workers, processes=PROCESSES)
    killed = 0
    for point in points:
        wait_until(lambda point=point: len(mail.copies) >= point, what=f"mail {point}")
        killed += product.kill_workers() * PROCESSES
        product.start_workers(workers, processes=PROCESSES)
    return killed


def _everybody_was_written_to(report: Report, mail: MailServer, campaign) -> None:
    wanted = set(campaign.messages.exclude(status="suppressed").values_list("address", flat=True))
    report.exactly("people forgotten", len(wanted - set(mail.receivers)), 0)


def _is_sent(campaign) -> bool:
    campaign.refresh_from_db(fields=["status"])
    return campaign.status == "sent"


def _held(campaign):
    return campaign.messages.filter(status__in=["leased", "sending"])


def _senders(campaign) -> int:
    """How many processes hold messages."""
    return _held(campaign).aggregate(senders=Count("owner", distinct=True))["senders"]


def _lapsed(campaign) -> int:
    return _held(campaign).filter(lease_until__lt=Now()).count()
