"""Sending through providers over real HTTP: what each of their answers means for the message."""

import json
import threading
import time
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.core.checks import run_checks
from django.utils.timezone import now

from campaigns import collecting, dispatch, outbox, reports, services
from campaigns.channels import CHANNELS, esp, web
from campaigns.channels import twilio as twilio_module
from campaigns.models import Breaker, Message
from campaigns.tests.factories import launch, make_campaign
from core.errors import DomainError
from customers.models import Event, Suppression
from customers.tests.factories import make_customer

pytestmark = pytest.mark.django_db(transaction=True)


def dispatch_everything() -> None:
    while dispatch.dispatch_batch(owner=uuid4()):
        pass


def count_reports() -> None:
    while reports.process():
        pass


def outcome(message: Message) -> tuple[str, str]:
    message.refresh_from_db()
    return message.status, message.reason


def text_to(number: str = "+393331234567") -> Message:
    make_customer(phone=number, consents=("sms",))
    campaign = launch(make_campaign(channels=("sms",)))
    dispatch_everything()
    return campaign.messages.get()


def mail_to(address: str = "ada@x.example") -> Message:
    make_customer(email=address, consents=("email",), first_name="Ada")
    campaign = launch(make_campaign())
    dispatch_everything()
    return campaign.messages.get()


def let_the_lease_run_out() -> None:
    Message.objects.update(lease_until=now() - timedelta(seconds=1))
    outbox.recover_leases()


def rest(message: Message) -> None:
    """Time passes until the message is due again, and the provider was left alone."""
    Breaker.objects.all().delete()
    Message.objects.filter(pk=message.pk).update(due_at=now())


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (web, twilio_module, esp):
        monkeypatch.setattr(module, "TIMEOUT", (2, 0.3))


# --- Twilio ---------------------------------------------------------------------------------------


def test_a_text_goes_to_twilio_with_its_words_and_where_to_report(twilio, settings):
    settings.PUBLIC_URL = "https://crm.example"
    message = text_to()
    [text] = twilio.texts.values()
    assert outcome(message) == ("sent", "")
    assert (message.provider, message.provider_ref) == ("twilio", text["sid"])
    assert (text["to"], text["from"]) == ("+393331234567", "Brand")
    assert text["body"].startswith("Hello you, see http")
    assert text["callback"] == f"https://crm.example/webhooks/sms/twilio/{message.pk}/"


def test_a_messaging_service_chooses_the_sender(twilio, settings):
    settings.TWILIO_MESSAGING_SERVICE_SID = "MG1"
    text_to()
    [text] = twilio.texts.values()
    assert (text["from"], text["messaging_service_sid"]) == (None, "MG1")


def test_many_texts_travel_over_few_connections_kept_open(twilio):
    for number in range(40):
        make_customer(phone=f"+39333123{number:04}", consents=("sms",))
    campaign = launch(make_campaign(channels=("sms",)))
    dispatch_everything()
    assert campaign.messages.filter(status="sent").count() == len(twilio.texts) == 40
    assert twilio.connections <= web.CONNECTIONS


def test_a_window_leaves_at_once_and_not_one_by_one(twilio):
    together = threading.Barrier(dispatch.WINDOW)  # Nobody is answered before all have asked.
    twilio.behave = lambda form: f"{together.wait(20)}" and "accept"
    for number in range(dispatch.WINDOW):
        make_customer(phone=f"+39333123{number:04}", consents=("sms",))
    campaign = launch(make_campaign(channels=("sms",)))
    dispatch_everything()
    assert campaign.messages.filter(status="sent").count() == dispatch.WINDOW


@pytest.mark.parametrize(
    ("behaviour", "ends"),
    [
        ("21211", ("bounced", "bad_address")),
        ("21617", ("failed", "refused")),
        ("20003", ("planned", "provider_error")),
        ("20429", ("planned", "provider_error")),
        ("20500", ("planned", "provider_error")),
    ],
)
def test_twilios_refusals_are_told_apart(twilio, behaviour, ends):
    twilio.behave = lambda form: behaviour
    message = text_to()
    assert outcome(message) == ends
    assert behaviour in message.detail
    assert Suppression.objects.exists() == (ends[0] == "bounced")


def test_who_said_stop_to_twilio_has_withdrawn_and_gets_no_more(twilio):
    twilio.behave = lambda form: "21610"
    message = text_to()
    assert outcome(message) == ("failed", "revoked")
    count_reports()
    assert outcome(message) == ("failed", "revoked")
    assert Suppression.objects.get().reason == "unsubscribed"
    assert message.customer.consents.get(channel="sms").state == "revoked"


def test_failures_of_twilio_itself_rest_it(twilio):
    twilio.behave = lambda form: "20500"
    for number in range(20):
        make_customer(phone=f"+39333123{number:04}", consents=("sms",))
    launch(make_campaign(channels=("sms",)))
    dispatch.dispatch_batch(owner=uuid4())
    breaker = Breaker.objects.get(provider="twilio")
    assert breaker.open_until > now()
    assert "20500" in breaker.detail


@pytest.mark.parametrize("behaviour", ["hang", "drop", "gateway"])
def test_a_text_whose_answer_was_lost_is_never_sent_again_and_waits_for_its_status(
    twilio, impatient, settings, live_server, behaviour
):
    settings.PUBLIC_URL = live_server.url
    twilio.behave = lambda form: behaviour
    message = text_to()
    assert outcome(message) == ("sending", "")
    let_the_lease_run_out()
    assert outcome(message) == ("unknown", "no_answer")
    twilio.behave = lambda form: "accept"
    dispatch_everything()
    [sid] = twilio.texts

    assert twilio.callback(sid, "delivered").post() == 200
    count_reports()
    assert outcome(message) == ("delivered", "")
    assert (message.provider, message.provider_ref) == ("twilio", sid)


def test_a_provider_that_falls_silent_puts_one_window_in_doubt_and_then_rests(twilio, impatient):
    twilio.behave = lambda form: "hang"
    for number in range(3 * dispatch.WINDOW):
        make_customer(phone=f"+39333123{number:04}", consents=("sms",))
    campaign = launch(make_campaign(channels=("sms",)))
    dispatch.dispatch_batch(owner=uuid4())
    assert len(twilio.texts) == dispatch.WINDOW
    assert campaign.messages.filter(status="sending").count() == dispatch.WINDOW
    assert Breaker.objects.get(provider="twilio").open_until > now()


def test_a_provider_that_cannot_be_reached_gets_the_text_later(twilio, settings):
    settings.TWILIO_BASE_URL = "http://127.0.0.1:1"
    message = text_to()
    assert outcome(message) == ("planned", "provider_error")
    settings.TWILIO_BASE_URL = twilio.url
    rest(message)
    dispatch_everything()
    assert outcome(message) == ("sent", "")
    assert len(twilio.texts) == 1


def test_a_late_report_finds_a_text_whose_mark_has_not_come_yet(twilio, settings, live_server):
    """The provider may be faster than our own commit: the report counts, the mark then changes nothing."""
    settings.PUBLIC_URL = live_server.url
    make_customer(phone="+393331234567", consents=("sms",))
    message = launch(make_campaign(channels=("sms",))).messages.get()
    owner = uuid4()
    [claimed] = outbox.claim(owner, "sms", 1)
    outgoing = outbox.fence(owner, [claimed.id])
    with CHANNELS["sms"].provider() as provider:
        done = list(provider.send(outgoing, deadline=time.monotonic() + 30))
    [sid] = twilio.texts
    twilio.callback(sid, "delivered").post()
    count_reports()
    outbox.mark(owner, done, provider="twilio")

    assert outcome(message) == ("delivered", "")
    names = Event.objects.filter(source="campaigns").values_list("name", flat=True)
    assert sorted(names) == ["Message Delivered", "Message Sent"]


def test_what_a_text_cost_is_fetched_when_twilio_knows_it(twilio, settings):
    for number in range(5):
        make_customer(phone=f"+39333123{number:04}", consents=("sms",))
    campaign = launch(make_campaign(channels=("sms",)))
    dispatch_everything()
    campaign.messages.update(sent_at=now() - timedelta(minutes=5))
    *priced, unpriced = twilio.texts
    for sid in priced:
        twilio.price(sid, "-0.07550", segments="2")
        twilio.texts[sid]["status"] = "delivered"

    assert collecting.collect_prices() == 8
    count_reports()
    collecting.collect_prices()  # Told again, it is the same.
    count_reports()

    found = campaign.messages.values_list("status", "parts", "cost_micros", "currency")
    assert sorted(found, key=str) == [("delivered", 2, 75_500, "USD")] * 4 + [("sent", None, None, "")]
    assert campaign.messages.get(provider_ref=unpriced).status == "sent"


def test_a_colleague_can_try_a_text_on_twilio(twilio):
    content = make_campaign(channels=("sms",)).contents.get()
    services.send_test(content, to="+393331112222", customer=None)
    assert [text["to"] for text in twilio.texts.values()] == ["+393331112222"]
    twilio.behave = lambda form: "21211"
    with pytest.raises(DomainError, match="not a valid phone number"):
        services.send_test(content, to="+393331112222", customer=None)


# --- a mail provider ------------------------------------------------------------------------------


def test_a_mail_goes_to_the_provider_as_we_wrote_it(resend):
    message = mail_to()
    [(email_id, mail)] = resend.mails.items()
    assert outcome(message) == ("sent", "")
    assert (message.provider, message.provider_ref) == ("resend", email_id)
    assert (mail["to"], mail["subject"]) == (["ada@x.example"], "Hello Ada")
    assert "Hello Ada" in mail["html"]
    assert "Hello Ada" in mail["text"]
    assert "/c/" in mail["text"]
    assert mail["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["headers"]["Message-ID"].startswith(f"<{message.pk}.")


def test_many_mails_travel_over_few_connections_kept_open(resend):
    for number in range(40):
        make_customer(email=f"p{number}@x.example", consents=("email",))
    campaign = launch(make_campaign())
    dispatch_everything()
    assert campaign.messages.filter(status="sent").count() == len(resend.mails) == 40
    assert resend.connections <= web.CONNECTIONS


@pytest.mark.parametrize(
    ("behaviour", "ends"),
    [
        ("401", ("planned", "provider_error")),
        ("403", ("planned", "provider_error")),
        ("422", ("failed", "bad_address")),
        ("429", ("planned", "provider_error")),
        ("500", ("planned", "provider_error")),
    ],
)
def test_the_providers_refusals_are_told_apart(resend, behaviour, ends):
    resend.behave = lambda mail: behaviour
    message = mail_to()
    assert outcome(message) == ends
    assert behaviour in message.detail
    assert not Suppression.objects.exists()


@pytest.mark.parametrize("behaviour", ["hang", "drop"])
def test_a_mail_handed_over_twice_is_taken_once(resend, impatient, behaviour):
    resend.behave = lambda mail: behaviour
    message = mail_to()
    assert outcome(message) == ("planned", "provider_error")

    resend.behave = lambda mail: "accept"
    rest(message)
    dispatch_everything()
    assert outcome(message) == ("sent", "")
    assert len(resend.mails) == 1


@pytest.mark.parametrize("behaviour", ["hang", "drop"])
def test_where_mail_parks_a_mail_in_doubt_waits_for_its_report(resend, impatient, settings, behaviour):
    settings.PARK_WHEN_IN_DOUBT = ["email", "sms"]
    resend.behave = lambda mail: behaviour
    message = mail_to()
    assert outcome(message) == ("sending", "")
    let_the_lease_run_out()
    assert outcome(message) == ("unknown", "no_answer")
    assert esp.provider().reports
    settings.RESEND_SIGNING_SECRETS = []
    assert not esp.provider().reports  # Nobody's word would be believed.


def test_a_mail_the_provider_knows_under_other_words_waits_for_its_report(resend, impatient, live_server):
    resend.webhook_url = live_server.url + "/webhooks/email/resend/"
    resend.behave = lambda mail: "drop"
    message = mail_to()
    message.customer.first_name = "Augusta"
    message.customer.save()
    resend.behave = lambda mail: "accept"
    rest(message)
    dispatch_everything()
    assert outcome(message) == ("planned", "try_later")

    [(email_id, mail)] = resend.mails.items()
    assert mail["subject"] == "Hello Ada"
    resend.webhook(email_id, "sent").post()
    count_reports()
    rest(message)
    dispatch_everything()
    assert outcome(message) == ("sent", "")
    assert len(resend.mails) == 1


def test_brevo_is_told_the_same_key_whenever_a_mail_is_handed_over(settings):
    settings.ANYMAIL = {"BREVO_API_KEY": "x"}
    make_customer(email="ada@x.example", consents=("email",))
    launch(make_campaign())
    owner = uuid4()
    [claimed] = outbox.claim(owner, "email", 1)
    [outgoing] = outbox.fence(owner, [claimed.id])
    keys = set()
    for _ in range(2):
        mail, line = esp.EspProvider("brevo").write(outgoing), esp.backend("brevo")
        esp._make_repeatable("brevo", line, outgoing.id, mail)
        payload = line.build_message_payload(mail, line.send_defaults)
        keys.add(
            json.loads(payload.get_request_params("https://api.example/")["data"])["headers"][
                "idempotencyKey"
            ]
        )
    [key] = keys
    assert UUID(key)
    taken = esp.refusal(outgoing.id, 400, '{"code": "duplicate_parameter"}')
    assert (taken.status, taken.reason) == ("planned", "try_later")


def test_a_mail_in_doubt_that_arrived_is_not_sent_again(resend, impatient, live_server):
    resend.webhook_url = live_server.url + "/webhooks/email/resend/"
    resend.behave = lambda mail: "drop"
    message = mail_to()
    [email_id] = resend.mails
    assert resend.webhook(email_id, "delivered").post() == 200
    count_reports()
    rest(message)
    dispatch_everything()

    assert outcome(message) == ("delivered", "")
    assert (message.attempts, message.provider_ref) == (1, email_id)


def test_a_provider_that_is_away_gets_the_mail_later(resend, settings):
    settings.ANYMAIL = settings.ANYMAIL | {"RESEND_API_URL": "http://127.0.0.1:1"}
    message = mail_to()
    assert outcome(message) == ("planned", "provider_error")


def test_a_colleague_can_try_a_mail_on_the_provider(resend):
    content = make_campaign().contents.get()
    services.send_test(content, to="me@x.example", customer=None)
    assert [mail["to"] for mail in resend.mails.values()] == [["me@x.example"]]
    resend.behave = lambda mail: "403"
    with pytest.raises(DomainError, match="not verified"):
        services.send_test(content, to="me@x.example", customer=None)


@pytest.mark.parametrize("name", ["mailgun", "postmark", "brevo", "mandrill", "sparkpost", "mailjet"])
def test_every_provider_can_write_our_mails(settings, resend, name):
    """What a provider cannot do with a mail is left out of it; ours ask for nothing it would refuse."""
    keys = ("API_KEY", "SERVER_TOKEN", "SECRET_KEY")
    settings.ANYMAIL = {f"{name.upper()}_{key}": "x" for key in keys}
    make_customer(email="ada@x.example", consents=("email",))
    launch(make_campaign())
    owner = uuid4()
    [claimed] = outbox.claim(owner, "email", 1)
    [outgoing] = outbox.fence(owner, [claimed.id])
    mail = esp.EspProvider(name).write(outgoing)
    line = esp.backend(name)
    payload = line.build_message_payload(mail, line.send_defaults)
    assert payload.get_request_params("https://api.example/")["data"]


# --- settings -------------------------------------------------------------------------------------


def problems() -> list[str]:
    return sorted(problem.id for problem in run_checks() if problem.id.startswith("campaigns."))


def test_the_check_says_what_a_provider_lacks(settings):
    settings.PUBLIC_URL = "https://crm.example"
    assert problems() == []
    settings.EMAIL_PROVIDER, settings.SMS_PROVIDER = "nobody", "carrier-pigeon"
    assert problems() == ["campaigns.E001", "campaigns.E004"]
    settings.EMAIL_PROVIDER, settings.SMS_PROVIDER = "postmark", "twilio"
    assert problems() == ["campaigns.E002", "campaigns.E005"]
    settings.ANYMAIL = {"POSTMARK_SERVER_TOKEN": "x"}
    settings.TWILIO_ACCOUNT_SID = settings.TWILIO_AUTH_TOKEN = "x"
    assert problems() == ["campaigns.E003"]
    settings.ANYMAIL["WEBHOOK_SECRET"] = "a:b"
    assert problems() == []
    settings.PUBLIC_URL = "http://localhost:8000"
    assert problems() == ["campaigns.W001", "campaigns.W001"]
