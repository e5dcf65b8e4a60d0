"""A provider that answers with errors while another works."""

import statistics
import time

from campaigns.tests.fakes.twilio import FakeTwilio

from . import house
from .house import House, wait_until
from .killing import _is_sent
from .mail import MailServer
from .report import Report, Scale


def f10_failing(scale: Scale) -> Report:
    """The text-message provider fails: its breaker opens, mail keeps its rate, the texts arrive later."""
    report, mails, texts = Report(), scale.pick(400, 6_000), scale.pick(200, 2_000)
    house.make_crowd(max(mails, texts), ("email", "sms"))
    alone = [_mail_rate(mails)]
    with FakeTwilio() as twilio:
        requests = 0

        def fail(form: object) -> str:
            nonlocal requests
            requests += 1
            return "20500"

        twilio.behave = fail
        beside = _mail_rate(mails, beside=twilio, texts=texts, lasts=scale.pick(6, 600))
        tried = requests
        left = beside.pop("left")
        opened_after = beside.pop("opened_after")
    alone.append(_mail_rate(mails))
    if not scale.short:
        normal = statistics.mean(one["rate"] for one in alone)
        report.at_least("mail's rate beside it, of its own", beside["rate"] / normal, 0.9)
    report.at_most("failures until the breaker opened", opened_after, 20)
    report.note("requests made to it while it failed", tried)
    report.exactly("texts that never arrived", left, 0)
    return report


def _mail_rate(
    mails: int, *, beside: FakeTwilio | None = None, texts: int = 0, lasts: float = 0
) -> dict[str, float]:
    """Send a campaign by mail, and one by text through a provider that fails for `lasts` seconds."""
    from campaigns.models import Breaker, Message

    server = MailServer()
    environment = {}
    if beside:
        environment = {
            "SMS_PROVIDER": "twilio",
            "TWILIO_BASE_URL": beside.url,
            "TWILIO_ACCOUNT_SID": beside.account,
            "TWILIO_AUTH_TOKEN": beside.token,
        }
    by_text = house.launch_campaign(("sms",)) if beside else None
    by_mail = house.launch_campaign(("email",))
    found: dict[str, float] = {}
    with House(mail_port=server.port, **environment) as product:
        product.start_beat()
        product.start_workers(4)
        if beside:
            wait_until(
                lambda: Breaker.objects.filter(provider="twilio", trips__gt=0).exists(), what="the breaker"
            )
            found["opened_after"] = Breaker.objects.get(provider="twilio").failures
        failing_since = time.monotonic()
        wait_until(lambda: _is_sent(by_mail), what="the mails")
        found["rate"] = mails / (server.copies[-1].at - server.copies[0].at)
        if beside and by_text:
            time.sleep(max(0.0, lasts - (time.monotonic() - failing_since)))
            beside.behave = lambda form: "accept"
            # Not everybody waits for the patience of the messages themselves.
            waiting = Message.objects.filter(campaign=by_text, status__in=["planned", "leased", "sending"])
            wait_until(lambda: not _hurry(waiting), what="the texts")
            found["left"] = Message.objects.filter(campaign=by_text).exclude(status="sent").count()
    return found


def _hurry(waiting) -> int:
    from django.utils.timezone import now

    time.sleep(1)
    waiting.filter(status="planned", due_at__gt=now()).update(due_at=now())
    return waiting.count()
