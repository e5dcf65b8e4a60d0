"""Reports of providers over real HTTP, signed as they sign: each counts once, and nobody else's does."""

import json
import random
import threading
import time
from typing import Any
from uuid import uuid4

import pytest
import requests
from anymail.webhooks.sendgrid import SendGridTrackingWebhookView
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from campaigns import reports
from campaigns.models import Message, ProviderReport
from campaigns.tests.factories import launch, make_campaign
from campaigns.tests.fakes.esp import Webhook
from campaigns.tests.fakes.twilio import sign
from customers.models import Event, Suppression
from customers.tests.factories import make_customer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def mail(settings: Any) -> Message:
    """A mail that was handed over to Resend."""
    customer = make_customer(email="ada@x.example", consents=("email",))
    campaign = launch(make_campaign())
    campaign.messages.update(
        status="sent", attempts=1, address="ada@x.example", provider="resend", sending_at=now(), sent_at=now()
    )
    message = campaign.messages.get()
    assert message.customer == customer
    return message


@pytest.fixture
def text(settings: Any) -> Message:
    """A text that was handed over to Twilio."""
    make_customer(phone="+393331234567", consents=("sms",))
    campaign = launch(make_campaign(channels=("sms",)))
    campaign.messages.update(
        status="sent", attempts=1, address="+393331234567", provider="twilio", sending_at=now(), sent_at=now()
    )
    return campaign.messages.get()


@pytest.fixture(autouse=True)
def handed_over(request: pytest.FixtureRequest) -> None:
    """Where a test speaks of Resend and a mail, Resend has taken it; nothing is asked of it here."""
    if {"resend", "mail"} <= set(request.fixturenames):
        from campaigns.channels import esp

        fake, mail = request.getfixturevalue("resend"), request.getfixturevalue("mail")
        live_server = request.getfixturevalue("live_server")
        fake.webhook_url = live_server.url + reverse("campaigns:email_reports", args=["resend"])
        fake.mails["e-1"] = {
            "from": "news@brand.example",
            "to": ["ada@x.example"],
            "subject": "Hello",
            "tags": [{"name": "omnicrm_message", "value": esp.token_of(mail.pk)}],
        }


def count_reports() -> None:
    while reports.process():
        pass


def state(message: Message) -> tuple[str, str]:
    message.refresh_from_db()
    return message.status, message.reason


def told() -> list[str]:
    names = Event.objects.filter(source="campaigns").order_by("name").values_list("name", flat=True)
    return [name.removeprefix("Message ") for name in names]


# --- once, whatever the number, the order and the company -----------------------------------------


def test_every_webhook_46_times_shuffled_by_eight_senders_has_one_effect(mail, resend):
    story = [
        resend.webhook("e-1", "sent"),
        resend.webhook("e-1", "delivery_delayed"),
        resend.webhook("e-1", "delivered"),
        resend.webhook("e-1", "complained"),
    ]
    posts = [webhook for webhook in story for _ in range(46)]
    random.Random(46).shuffle(posts)
    statuses: list[int] = []
    working = threading.Event()

    def send(share: list[Webhook]) -> None:
        statuses.extend(webhook.post() for webhook in share)

    def work() -> None:
        while not working.is_set():
            reports.process(limit=2)
        from django.db import connection

        connection.close()

    workers = [threading.Thread(target=work) for _ in range(2)]
    senders = [threading.Thread(target=send, args=(posts[lane::8],)) for lane in range(8)]
    for thread in workers + senders:
        thread.start()
    for thread in senders:
        thread.join()
    working.set()
    for thread in workers:
        thread.join()
    count_reports()

    assert set(statuses) == {200}
    assert len(statuses) == 4 * 46
    assert ProviderReport.objects.count() == 4
    assert not ProviderReport.objects.filter(processed_at=None).exists()
    assert state(mail) == ("delivered", "")
    assert told() == ["Complained", "Delivered", "Sent", "Unsubscribed"]
    assert Suppression.objects.get().reason == "complained"
    consents = mail.customer.consent_events.filter(purpose="marketing")
    assert list(consents.order_by("pk").values_list("state", flat=True)) == ["granted", "revoked"]


def test_a_report_is_answered_before_anything_is_made_of_it(mail, resend):
    assert resend.webhook("e-1", "delivered").post() == 200
    assert state(mail) == ("sent", "")
    count_reports()
    assert state(mail) == ("delivered", "")


def test_once_a_report_counted_nothing_of_the_person_is_left_in_it(mail, resend):
    resend.webhook("e-1", "delivered").post()
    assert "ada@x.example" in str(ProviderReport.objects.values().get())
    count_reports()
    assert "ada@x.example" not in str(ProviderReport.objects.values().get())


# --- whoever is not the provider ------------------------------------------------------------------


def _altered(webhook: Webhook) -> Webhook:
    return Webhook(webhook.url, webhook.body.replace(b"delivered", b"bounced"), webhook.headers)


def _reserialised(webhook: Webhook) -> Webhook:
    body = json.dumps(json.loads(webhook.body), indent=1).encode()
    return Webhook(webhook.url, body, webhook.headers)


def _without(webhook: Webhook, header: str) -> Webhook:
    headers = {name: value for name, value in webhook.headers.items() if name != header}
    return Webhook(webhook.url, webhook.body, headers)


def _with(webhook: Webhook, **headers: str) -> Webhook:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Webhook(webhook.url, webhook.body, webhook.headers | named)


FORGERIES = {
    "no signature": lambda fake, good: _without(good, "svix-signature"),
    "no id": lambda fake, good: _without(good, "svix-id"),
    "no time": lambda fake, good: _without(good, "svix-timestamp"),
    "altered": lambda fake, good: _altered(good),
    "re-serialised": lambda fake, good: _reserialised(good),
    "another id": lambda fake, good: _with(good, svix_id="msg_other"),
    "another time": lambda fake, good: _with(good, svix_timestamp=str(int(time.time()) + 1)),
    "another signature": lambda fake, good: _with(good, svix_signature="v1,AAAA"),
    "not ascii": lambda fake, good: _with(good, svix_signature="v1,\xe9"),
    "too old": lambda fake, good: Webhook(good.url, good.body, fake.sign(good.body, at=time.time() - 301)),
    "from the future": lambda fake, good: Webhook(
        good.url, good.body, fake.sign(good.body, at=time.time() + 302)
    ),
    "another house's secret": lambda fake, good: Webhook(
        good.url, good.body, fake.sign(good.body, secret="whsec_" + "QUJD" * 8)
    ),
    "nothing at all": lambda fake, good: Webhook(good.url, b"", {}),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_what_is_not_the_providers_is_refused_and_leaves_no_trace(mail, resend, forgery):
    good = resend.webhook("e-1", "delivered")

    assert FORGERIES[forgery](resend, good).post() == 403
    count_reports()

    assert ProviderReport.objects.count() == 0
    assert state(mail) == ("sent", "")
    assert good.post() == 200


def test_old_and_new_secret_are_both_believed_while_one_replaces_the_other(mail, resend, settings):
    new = "whsec_" + "QUJD" * 8
    settings.RESEND_SIGNING_SECRETS = [new, resend.secret]
    body = resend.webhook("e-1", "delivered").body
    for secret in (new, resend.secret):
        assert Webhook(resend.webhook_url, body, resend.sign(body, secret=secret)).post() == 200


def test_without_a_secret_nobody_is_believed(mail, resend, settings):
    settings.RESEND_SIGNING_SECRETS = []
    settings.ANYMAIL = {}
    assert resend.webhook("e-1", "delivered").post() == 403
    assert ProviderReport.objects.count() == 0


def test_only_the_providers_we_use_are_listened_to(mail, resend, live_server):
    body = resend.webhook("e-1", "delivered").body
    for name in ("postmark", "smtp", "nobody"):
        url = f"{live_server.url}/webhooks/email/{name}/"
        assert Webhook(url, body, resend.sign(body)).post() == 404


def test_another_systems_mail_on_the_same_account_is_not_ours(mail, resend):
    theirs = {"name": "omnicrm_message", "value": f"{mail.pk}_{'x' * 43}"}
    resend.mails["e-2"] = resend.mails["e-1"] | {"tags": [theirs]}
    assert resend.webhook("e-2", "bounced", bounce={"message": "x", "type": "Permanent"}).post() == 200
    count_reports()
    assert state(mail) == ("sent", "")


def test_what_the_provider_could_not_send_in_the_end_failed(mail, resend):
    assert resend.webhook("e-1", "failed", failed={"reason": "reached_daily_quota"}).post() == 200
    count_reports()
    assert state(mail) == ("failed", "refused")


def test_a_genuine_report_nobody_can_read_is_kept_where_people_see_it(mail, resend):
    body = b'{"type": "email.delivered", "data": ["\\u0000\\ud800"], "created_at": 7}'
    assert Webhook(resend.webhook_url, body, resend.sign(body)).post() == 200
    report = ProviderReport.objects.get()
    assert (report.kind, report.problem) == ("unreadable", "unreadable")
    assert report.error
    assert len(report.payload_hash) == 64


# --- each provider's own way of signing -----------------------------------------------------------


def mailgun_event(message: Message, *, key: str, token: str, at: float, kind: str, **data: Any) -> bytes:
    import hashlib
    import hmac

    from campaigns.channels import esp

    stamp = str(int(at))
    signature = hmac.new(key.encode(), f"{stamp}{token}".encode(), hashlib.sha256).hexdigest()
    return json.dumps(
        {
            "signature": {"timestamp": stamp, "token": token, "signature": signature},
            "event-data": {
                "event": kind,
                "id": uuid4().hex,
                "timestamp": at,
                "recipient": "ada@x.example",
                "message": {"headers": {"message-id": "1.2@brand.example"}},
                "user-variables": {"omnicrm_message": esp.token_of(message.pk)},
                **data,
            },
        }
    ).encode()


@pytest.fixture
def mailgun(settings: Any, mail: Message) -> Any:
    settings.EMAIL_REPORTS_FROM = ["mailgun"]
    settings.ANYMAIL = {"MAILGUN_API_KEY": "k", "MAILGUN_WEBHOOK_SIGNING_KEY": "signing-key"}
    url = reverse("campaigns:email_reports", args=["mailgun"])

    def post(body: bytes) -> int:
        return Client().post(url, body, content_type="application/json").status_code

    return post


def test_mailguns_signature_is_checked_and_its_token_counts_once(mail, mailgun):
    event = {"key": "signing-key", "token": "t" * 50, "kind": "delivered"}
    assert mailgun(mailgun_event(mail, **event | {"key": "other"}, at=time.time())) == 403
    assert mailgun(mailgun_event(mail, **event, at=time.time() - 13 * 3600)) == 403
    for junk in (b"[]", b"{}", b'"x"', b"\xff", b'{"signature": {"token": "\xc3\xa9", "timestamp": "1"}}'):
        assert mailgun(junk) == 403
    assert ProviderReport.objects.count() == 0

    assert mailgun(mailgun_event(mail, **event, at=time.time())) == 200
    # Mailgun signs the token, not the event: another body under a used token changes nothing.
    forged = mailgun_event(mail, **event | {"kind": "failed"}, at=time.time(), severity="permanent")
    assert mailgun(forged) == 200
    count_reports()
    assert state(mail) == ("delivered", "")


def test_mailguns_temporary_failure_is_a_delay_and_its_permanent_one_a_bounce(mail, mailgun):
    failed = {"key": "signing-key", "kind": "failed", "at": time.time()}
    status = {"delivery-status": {"code": 421, "message": "4.7.0 try later", "description": ""}}
    assert mailgun(mailgun_event(mail, **failed, token="a" * 50, severity="temporary", **status)) == 200
    count_reports()
    assert state(mail) == ("sent", "")

    status = {"delivery-status": {"code": 550, "message": "5.1.1 no such user", "description": ""}}
    assert mailgun(mailgun_event(mail, **failed, token="b" * 50, severity="permanent", **status)) == 200
    count_reports()
    assert state(mail) == ("bounced", "bad_address")
    assert Suppression.objects.get().reason == "bounced"


def test_sendgrids_elliptic_signature_is_checked(mail, settings):
    from base64 import b64encode

    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    settings.EMAIL_REPORTS_FROM = ["sendgrid"]
    settings.ANYMAIL = {"SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY": b64encode(public).decode()}
    Message.objects.update(provider="sendgrid", provider_ref="anymail-1")
    event = {
        "event": "delivered",
        "timestamp": int(time.time()),
        "sg_event_id": "s1",
        "anymail_id": "anymail-1",
    }
    body = json.dumps([event, event | {"event": "open", "sg_event_id": "s2"}]).encode()

    def post(body: bytes, stamp: int, signed: bytes) -> int:
        signature = key.sign(str(stamp).encode() + signed, ec.ECDSA(hashes.SHA256()))
        headers = {
            "X-Twilio-Email-Event-Webhook-Signature": b64encode(signature).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": str(stamp),
        }
        url = reverse("campaigns:email_reports", args=["sendgrid"])
        return Client().post(url, body, content_type="application/json", headers=headers).status_code

    fresh, old = int(time.time()), int(time.time()) - 26 * 3600
    assert SendGridTrackingWebhookView.esp_name == "SendGrid"
    assert post(body.replace(b"delivered", b"dropped"), fresh, body) == 403
    assert post(body, old, body) == 403
    assert ProviderReport.objects.count() == 0
    assert post(body, fresh, body) == 200
    count_reports()
    assert state(mail) == ("delivered", "")
    assert told() == ["Delivered", "Sent"]  # Nobody agreed to being watched opening.


def test_postmark_says_who_it_is_with_a_password(mail, settings):
    settings.EMAIL_REPORTS_FROM = ["postmark"]
    settings.ANYMAIL = {"WEBHOOK_SECRET": "crm:a-long-password"}
    Message.objects.update(provider="postmark", provider_ref="pm-1")
    url = reverse("campaigns:email_reports", args=["postmark"])
    body = {
        "RecordType": "Bounce",
        "Type": "HardBounce",
        "ID": 7,
        "MessageID": "pm-1",
        "Email": "ada@x.example",
    }

    def post(user: str | None) -> Any:
        from base64 import b64encode

        headers = {"Authorization": f"Basic {b64encode(user.encode()).decode()}"} if user else {}
        return Client().post(url, body, content_type="application/json", headers=headers)

    asked = post(None)
    assert (asked.status_code, "Basic" in asked.headers["WWW-Authenticate"]) == (401, True)
    assert post("crm:wrong").status_code == 403
    assert ProviderReport.objects.count() == 0
    assert post("crm:a-long-password").status_code == 200
    count_reports()
    assert state(mail) == ("bounced", "bad_address")


def test_providers_may_try_the_address_first(settings):
    settings.EMAIL_REPORTS_FROM = ["mandrill"]
    assert Client().head("/webhooks/email/mandrill/").status_code == 200


# --- Twilio ---------------------------------------------------------------------------------------


@pytest.fixture
def twilio_post(settings: Any, live_server: Any, text: Message) -> Any:
    settings.TWILIO_AUTH_TOKEN = "the auth token"
    settings.PUBLIC_URL = "https://crm.example"  # What stands in front of us.
    path = reverse("campaigns:twilio_status", args=[text.pk])

    def post(
        fields: dict[str, Any], *, token: str = "the auth token", signed: Any = None, to: str = ""
    ) -> int:
        signature = sign(token, settings.PUBLIC_URL + path, signed or fields)
        headers = {"X-Twilio-Signature": signature}
        return requests.post(
            live_server.url + (to or path), data=fields, headers=headers, timeout=10
        ).status_code

    return post


def _status(word: str, **fields: str) -> dict[str, str]:
    return {"MessageSid": "SM1", "MessageStatus": word, "To": "+393331234567", "AccountSid": "AC1", **fields}


def test_twilios_statuses_46_times_shuffled_end_where_the_last_one_does(text, twilio_post):
    posts = [_status(word) for word in ("queued", "sending", "sent", "delivered") for _ in range(46)]
    random.Random(7).shuffle(posts)
    threads = [
        threading.Thread(target=lambda share: [twilio_post(fields) for fields in share], args=(posts[n::8],))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    count_reports()

    assert ProviderReport.objects.count() == 4
    assert state(text) == ("delivered", "")
    assert told() == ["Delivered", "Sent"]
    text.refresh_from_db()
    assert text.provider_ref == "SM1"


def test_twilios_forgeries_are_refused(text, twilio_post):
    other = text.pk + 1
    assert twilio_post(_status("delivered"), token="another house's") == 403
    assert twilio_post(_status("failed"), signed=_status("delivered")) == 403
    assert twilio_post(_status("delivered", Extra="1"), signed=_status("delivered")) == 403
    assert twilio_post(_status("delivered"), to=reverse("campaigns:twilio_status", args=[other])) == 403
    assert twilio_post({}, signed={"MessageSid": "x"}) == 403
    path = reverse("campaigns:twilio_status", args=[text.pk])
    assert Client().post(path, _status("delivered")).status_code == 403
    assert ProviderReport.objects.count() == 0
    count_reports()
    assert state(text) == ("sent", "")


def test_nobody_can_sign_with_an_empty_token(text, twilio_post, settings):
    settings.TWILIO_AUTH_TOKEN = ""
    assert twilio_post(_status("delivered"), token="") == 403


@pytest.mark.parametrize(
    ("code", "ends", "is_suppressed"),
    [
        ("30005", ("bounced", "bad_address"), True),
        ("30006", ("bounced", "bad_address"), True),
        ("30003", ("bounced", "refused"), False),
        ("30007", ("failed", "spam"), False),
        ("30034", ("failed", "refused"), False),
        ("21610", ("failed", "revoked"), True),
    ],
)
def test_twilios_error_codes_tell_a_bad_number_from_bad_luck(text, twilio_post, code, ends, is_suppressed):
    assert twilio_post(_status("undelivered", ErrorCode=code)) == 200
    count_reports()
    assert state(text) == ends
    assert Suppression.objects.exists() == is_suppressed
    text.refresh_from_db()
    assert code in text.detail
