from datetime import timedelta
from itertools import permutations
from typing import Any
from uuid import uuid4

import pytest
from django.utils.timezone import now

from campaigns import collecting, conversions, dispatch, inbox, outbox, reports, reports_sql
from campaigns.channels import esp
from campaigns.models import Breaker, Conversion, Message, ProviderReport, SandboxText
from campaigns.tests.factories import launch, make_campaign, read_the_whole_log
from core.tests.factories import make_user
from customers.models import Event, Suppression
from customers.services import record_consent
from customers.tests.factories import make_customer, make_event

pytestmark = pytest.mark.django_db(transaction=True)


def text_to(number: str) -> Message:
    make_customer(phone=number, consents=("sms",))
    campaign = launch(make_campaign(channels=("sms",)))
    while dispatch.dispatch_batch(owner=uuid4()):
        pass
    SandboxText.objects.update(report_at=now())
    return campaign.messages.get()


def count_reports() -> None:
    while reports.process():
        pass


def collect() -> int:
    taken = collecting.collect_sandbox_reports()
    count_reports()
    return taken


def outcome(message: Message) -> tuple[str, str]:
    message.refresh_from_db()
    return message.status, message.reason


def test_a_text_is_delivered_when_its_report_arrives():
    message = text_to("+393331234567")
    assert message.status == "sent"
    assert collect() == 1
    message.refresh_from_db()
    assert (message.status, message.parts) == ("delivered", 1)
    assert Event.objects.filter(name="Message Delivered").count() == 1
    assert collect() == 0


def test_a_bounced_number_is_suppressed():
    message = text_to("+393331230001")
    collect()
    message.refresh_from_db()
    assert (message.status, message.reason) == ("bounced", "bad_address")
    assert Suppression.objects.get().channel == "sms"


def test_an_answer_that_got_lost_parks_the_text_until_its_report_comes():
    message = text_to("+393331230003")
    assert message.status == "sending"
    Message.objects.update(lease_until=now() - timedelta(seconds=1))
    outbox.recover_leases()
    message.refresh_from_db()
    assert (message.status, message.reason) == ("unknown", "no_answer")
    assert SandboxText.objects.count() == 1

    collect()
    message.refresh_from_db()
    assert (message.status, message.reason) == ("delivered", "")
    assert message.provider_ref == str(SandboxText.objects.get().ref)


def test_a_provider_in_trouble_is_asked_again_later_and_then_given_up():
    message = text_to("+393331230000")
    assert (message.status, message.reason, message.attempts) == ("planned", "provider_error", 1)
    assert message.due_at > now()
    for _ in range(outbox.MAX_ATTEMPTS):
        Breaker.objects.all().delete()  # It has rested.
        Message.objects.update(due_at=now())
        dispatch.dispatch_batch(owner=uuid4())
    message.refresh_from_db()
    assert (message.status, message.attempts) == ("failed", outbox.MAX_ATTEMPTS)
    assert "503" in message.detail


def test_an_order_is_credited_to_the_last_message_before_it():
    customer = make_customer(phone="+393331234567", consents=("sms",))
    older, newer = launch(make_campaign(channels=("sms",))), launch(make_campaign(channels=("sms",)))
    while dispatch.dispatch_batch(owner=uuid4()):
        pass
    Message.objects.filter(campaign=older).update(sent_at=now() - timedelta(days=2))
    Message.objects.filter(campaign=newer).update(sent_at=now() - timedelta(days=1))
    order = {"properties": {"total_minor": 4990, "currency": "EUR"}}
    make_event(customer, "Order Completed", at=now(), **order)
    make_event(customer, "Order Completed", at=now() - timedelta(days=1, hours=1), **order)
    make_event(customer, "Order Completed", at=now() - timedelta(days=3), **order)
    make_event(customer, "Order Completed", at=now() + timedelta(days=8), **order)

    read_the_whole_log(4)

    credited = Conversion.objects.order_by("occurred_at").values_list("campaign", "revenue_minor")
    assert list(credited) == [(older.pk, 4990), (newer.pk, 4990)]
    Conversion.objects.all().delete()
    assert conversions.follow_orders() == 0


# --- what reports make of a message ---------------------------------------------------------------

STORY: dict[str, dict[str, Any]] = {
    "sent": {},
    "delivered": {},
    "soft_bounced": {"reason": "mailbox_full"},
    "bounced": {"reason": "bad_address"},
    "complained": {},
}


def notice(about: Message, kind: str, **fields: Any) -> inbox.Notice:
    named = {"provider": "resend", "channel": "email", "kind": kind, "event_id": f"{kind}-{about.pk}"}
    return inbox.Notice(**{**named, "message": about.pk, **fields})


def left(message: Message) -> None:
    Message.objects.filter(pk=message.pk).update(
        status="sent", attempts=1, address="ada@x.example", sending_at=now(), sent_at=now()
    )


def make_sent() -> Message:
    make_customer(email="ada@x.example", consents=("email",))
    message = launch(make_campaign()).messages.get()
    left(message)
    message.refresh_from_db()
    return message


def test_in_whatever_order_reports_come_they_end_the_same():
    """Every order of five reports, each on a message of its own, counted one by one."""
    make_customer(email="ada@x.example", consents=("email",))
    ends = set()
    for order in permutations(STORY):
        message = launch(make_campaign()).messages.get()
        left(message)
        for kind in order:
            inbox.receive([notice(message, kind, **STORY[kind])])
            count_reports()
        names = Event.objects.filter(key__startswith=f"{message.pk}:").values_list("name", flat=True)
        ends.add((*outcome(message), *sorted(names)))
        assert Suppression.objects.exists()
        Suppression.objects.all().delete()
        record_consent(message.customer_id, channel="email", state="granted", source="again")
    assert ends == {
        (
            "bounced",
            "bad_address",
            *("Message Bounced", "Message Complained", "Message Delivered", "Message Sent"),
            "Message Unsubscribed",
        )
    }


@pytest.mark.parametrize("late", ["sent", "deferred", "delivered", "failed", "opened"])
def test_nothing_that_came_back_arrives_afterwards(late):
    message = make_sent()
    inbox.receive([notice(message, "bounced", reason="bad_address")])
    count_reports()
    inbox.receive([notice(message, late)])
    count_reports()
    assert outcome(message) == ("bounced", "bad_address")


def test_a_report_about_a_message_that_never_left_is_kept_tried_again_and_given_up():
    make_customer(email="ada@x.example", consents=("email",))
    message = launch(make_campaign()).messages.get()
    inbox.receive([notice(message, "delivered"), notice(message, "sent", message=None, ref="nobody's")])
    for _ in range(len(reports.TRY_AGAIN_AFTER) + 1):
        assert not ProviderReport.objects.exclude(dead_at=None).exists()
        ProviderReport.objects.update(due_at=now())
        count_reports()

    dead = ProviderReport.objects.exclude(dead_at=None)
    assert set(dead.values_list("problem", flat=True)) == {"unknown_message"}
    assert dead.count() == 2
    assert outcome(message) == ("planned", "")
    assert reports.process() == 0


def test_dead_reports_count_once_what_they_speak_of_is_there():
    make_customer(email="ada@x.example", consents=("email",))
    message = launch(make_campaign()).messages.get()
    inbox.receive([notice(message, "delivered")])
    ProviderReport.objects.update(dead_at=now(), problem="unknown_message")
    left(message)
    assert reports.replay(by=make_user(), provider="resend", problem="unknown_message") == 1
    count_reports()
    assert outcome(message) == ("delivered", "")


def test_a_report_that_breaks_does_not_hold_up_the_others(monkeypatch):
    first = make_sent()
    second = launch(make_campaign()).messages.get()
    left(second)
    inbox.receive([notice(first, "delivered", parts=1), notice(second, "delivered", parts=1)])
    poison = ProviderReport.objects.get(message=first.pk)
    breaks = f" AND 1 / (CASE price.id WHEN {first.pk} THEN 0 ELSE 1 END) = 1"
    monkeypatch.setattr(reports_sql, "PRICE", reports_sql.PRICE + breaks)

    count_reports()

    assert outcome(second) == ("delivered", "")
    assert outcome(first) == ("sent", "")
    poison.refresh_from_db()
    assert (poison.problem, poison.attempts, poison.dead_at) == ("error", 1, None)
    assert poison.error == "division by zero"


def test_soft_bounces_on_three_days_give_an_address_up_unless_something_arrived_meanwhile():
    make_customer(email="ada@x.example", consents=("email",))

    def bounce(days_ago: int) -> None:
        message = launch(make_campaign()).messages.get()
        left(message)
        at = now() - timedelta(days=days_ago)
        inbox.receive([notice(message, "soft_bounced", reason="mailbox_full", occurred_at=at)])
        count_reports()

    bounce(29)
    bounce(28)
    message = launch(make_campaign()).messages.get()
    left(message)
    inbox.receive([notice(message, "delivered", occurred_at=now() - timedelta(days=20))])
    count_reports()
    bounce(5)
    bounce(5)
    bounce(4)
    assert not Suppression.objects.exists()
    bounce(3)
    assert Suppression.objects.get().reason == "bounced"


def test_openings_are_told_of_those_who_agreed_and_robots_are_marked():
    message = make_sent()
    opened = {"properties": {"machine": False}}
    inbox.receive([notice(message, "opened", event_id="o1", **opened)])
    count_reports()
    assert not Event.objects.filter(name="Message Opened").exists()
    assert outcome(message) == ("delivered", "")

    record_consent(message.customer_id, channel="", purpose="open_tracking", state="granted", source="form")
    seen = now()
    inbox.receive([notice(message, "opened", event_id="o2", occurred_at=seen, properties={"machine": True})])
    inbox.receive([notice(message, "opened", event_id="o3", occurred_at=seen, properties={"machine": True})])
    count_reports()
    assert Event.objects.get(name="Message Opened").properties["machine"] is True


def test_clicks_on_our_own_links_are_told_by_our_own_redirect():
    message = make_sent()
    for number, properties in enumerate([{"url": "https://shop.example/x"}, {"url": "/c/1", "ours": True}]):
        inbox.receive([notice(message, "clicked", event_id=f"c{number}", properties=properties)])
    count_reports()
    [clicked] = Event.objects.filter(name="Message Clicked")
    assert clicked.properties["url"] == "https://shop.example/x"


def test_who_agreed_again_after_complaining_stays_agreed():
    message = make_sent()
    inbox.receive([notice(message, "complained", occurred_at=now() - timedelta(days=2))])
    count_reports()
    assert message.customer.consents.get(channel="email").state == "granted"


@pytest.mark.parametrize(
    ("raw", "words", "verdict"),
    [
        ({"data": {"bounce": {"type": "Permanent", "subType": "General"}}}, "", ("bounced", "bad_address")),
        (
            {"data": {"bounce": {"type": "Transient", "subType": "MailboxFull"}}},
            "",
            ("soft_bounced", "mailbox_full"),
        ),
        ({"event": "hard_bounce"}, "", ("bounced", "bad_address")),
        ({"event": "soft_bounce"}, "", ("soft_bounced", "refused")),
        ({"Type": "HardBounce"}, "550 5.1.1 no such user", ("bounced", "bad_address")),
        ({"Type": "HardBounce"}, "552 5.2.2 over quota", ("soft_bounced", "mailbox_full")),
        ({"severity": "permanent"}, "550 5.7.1 blocked as spam", ("soft_bounced", "spam")),
        ({"event": "bounce", "type": "blocked"}, "", ("soft_bounced", "refused")),
        ({"hard_bounce": True}, "", ("bounced", "bad_address")),
        ({}, "", ("soft_bounced", "refused")),
    ],
)
def test_a_bounce_for_good_is_told_from_one_of_today(raw, words, verdict):
    assert esp.weigh_bounce(raw, words) == verdict


def test_what_strangers_write_can_be_kept():
    message = make_sent()
    odd = {"a\0b": ["\ud800", {"deep": "\0"}], "long": "x" * 5000}
    inbox.receive(
        [
            notice(message, "delivered", detail="\0\ud800" + "y" * 400, payload=odd, ref="r" * 300),
            notice(
                message,
                "sent",
                payload={"a\0b": ["\ud800", 1.5, None, True, float("nan"), 10**40]},
                event_id="e" * 300,
            ),
        ]
    )
    count_reports()
    assert outcome(message) == ("delivered", "")


def test_what_is_long_over_is_dropped():
    message = make_sent()
    inbox.receive([notice(message, "sent"), notice(message, "delivered", message=None)])
    count_reports()
    ProviderReport.objects.filter(kind="sent").update(processed_at=now() - timedelta(days=31))
    assert reports.sweep() == 1
    assert ProviderReport.objects.get().kind == "delivered"
