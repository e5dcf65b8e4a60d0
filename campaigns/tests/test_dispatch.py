from collections import deque
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from django.db import OperationalError, connection

from campaigns import dispatch, outbox, services
from campaigns.channels.base import Outcome
from campaigns.channels.email import SmtpProvider
from campaigns.logbook import Log
from campaigns.models import Logbook, Message
from campaigns.rendering import Outgoing
from campaigns.tests.factories import launch, make_campaign
from customers.models import Event, Suppression
from customers.services import record_consent
from customers.tests.factories import make_customer

pytestmark = pytest.mark.django_db(transaction=True)


def dispatch_everything() -> None:
    while dispatch.dispatch_batch(owner=uuid4()):
        pass
    services.finish_campaigns()


def launch_to(people: int):
    """A campaign by mail to so many people, its messages planned."""
    for number in range(people):
        make_customer(email=f"p{number}@x.example", consents=("email",))
    return launch(make_campaign())


def outcome(message: Message) -> tuple[str, str]:
    message.refresh_from_db()
    return message.status, message.reason


def test_a_campaign_reaches_everybody_who_agreed_on_both_channels(sink):
    make_customer(email="ada@x.example", phone="+393331234567", consents=("email", "sms"), first_name="Ada")
    make_customer(email="bob@x.example", consents=("email",), first_name="Bob")
    make_customer(email="eve@x.example")
    campaign = launch(make_campaign(channels=("email", "sms")))

    dispatch_everything()

    assert sorted(sink.addresses) == ["ada@x.example", "bob@x.example"]
    campaign.refresh_from_db()
    assert campaign.status == "sent"
    results = campaign.messages.values_list("customer__first_name", "channel", "status", "reason")
    assert sorted(results) == [
        ("", "email", "suppressed", "no_consent"),
        ("", "sms", "suppressed", "no_consent"),
        ("Ada", "email", "sent", ""),
        ("Ada", "sms", "sent", ""),
        ("Bob", "email", "sent", ""),
        ("Bob", "sms", "suppressed", "no_consent"),
    ]
    assert Event.objects.filter(name="Message Sent").count() == 3


def test_a_mail_is_written_for_its_reader_and_can_be_unsubscribed_with_one_click(sink):
    make_customer(email="ada@x.example", consents=("email",), first_name="Ada")
    launch(make_campaign())

    dispatch_everything()

    [(_, mail)] = sink.mails
    assert mail["Subject"] == "Hello Ada"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert "/u/" in mail["List-Unsubscribe"]
    html = mail.get_body(("html",)).get_content()
    text = mail.get_body(("plain",)).get_content()
    assert "Hello Ada" in html
    assert "Hello Ada" in text
    assert "/c/" in text
    assert "https://brand.example/new" not in text


def test_consent_revoked_after_planning_stops_the_message(sink):
    customer = make_customer(email="ada@x.example", consents=("email",))
    campaign = launch(make_campaign())
    record_consent(customer.pk, channel="email", state="revoked", source="phone call")

    dispatch_everything()

    assert sink.mails == []
    assert outcome(campaign.messages.get()) == ("suppressed", "revoked")


def test_an_address_that_does_not_exist_is_never_written_to_again(sink):
    make_customer(email="gone@x.example", consents=("email",))
    first = launch(make_campaign())
    dispatch_everything()
    assert outcome(first.messages.get()) == ("bounced", "bad_address")
    assert Suppression.objects.get().reason == "bounced"

    second = launch(make_campaign())
    dispatch_everything()
    assert outcome(second.messages.get()) == ("suppressed", "suppressed")


def test_a_server_that_is_busy_gets_the_mail_later(sink):
    make_customer(email="ada@x.example", consents=("email",))
    campaign = launch(make_campaign())
    sink.refuse_everything = True
    dispatch_everything()
    assert outcome(campaign.messages.get()) == ("planned", "try_later")

    sink.refuse_everything = False
    campaign.messages.update(due_at="2020-01-01T00:00Z")
    dispatch_everything()
    assert outcome(campaign.messages.get()) == ("sent", "")


def test_a_slow_worker_gives_back_what_it_cannot_send_within_its_lease(sink, settings):
    settings.MESSAGE_LEASE_SECONDS = 0
    campaign = launch_to(20)
    assert dispatch.dispatch_batch(owner=uuid4()) == 20
    waiting = set(campaign.messages.values_list("status", "attempts"))
    assert waiting == {("planned", 0)}


def test_being_claimed_by_workers_that_die_is_not_an_attempt(sink):
    make_customer(email="ada@x.example", consents=("email",))
    campaign = launch(make_campaign())
    for _ in range(outbox.MAX_ATTEMPTS + 1):
        outbox.claim(uuid4(), "email", 10)
        campaign.messages.update(lease_until="2020-01-01T00:00Z")
        outbox.recover_leases()
    dispatch_everything()
    assert outcome(campaign.messages.get()) == ("sent", "")


def test_a_message_that_kills_its_workers_is_set_aside_and_its_neighbours_arrive(sink):
    campaign = launch_to(5)
    poison = campaign.messages.get(address="p3@x.example").pk
    for attempt in range(outbox.MAX_CRASHES):
        owner = uuid4()
        queue = deque(outbox.claim(owner, "email", 10))
        while queue:
            window = dispatch._next_ids(queue, dispatch.WINDOW)
            fenced = outbox.fence(owner, window)
            if poison in window:  # Here the worker dies, whatever else it was sending.
                break
            outbox.mark(owner, [Outcome(one.id, "sent") for one in fenced])
        assert attempt == 0 or window == [poison]
        campaign.messages.filter(status__in=["leased", "sending"]).update(lease_until="2020-01-01T00:00Z")
        outbox.recover_leases()

    assert outcome(campaign.messages.get(pk=poison)) == ("failed", "poison")
    dispatch_everything()
    assert set(campaign.messages.exclude(pk=poison).values_list("status", flat=True)) == {"sent"}


def test_what_was_sent_is_marked_although_the_database_hung_up_meanwhile(sink, monkeypatch):
    campaign = launch_to(20)
    send, hung_up = SmtpProvider.send, []

    def send_and_lose_the_database(provider, batch, *, deadline):
        outcomes = list(send(provider, batch, deadline=deadline))
        if not hung_up:
            hung_up.append(connection.connection.info.backend_pid)
            with ThreadPoolExecutor(1) as elsewhere:
                elsewhere.submit(end_session, hung_up[0]).result()
        return outcomes

    monkeypatch.setattr(SmtpProvider, "send", send_and_lose_the_database)
    dispatch_everything()

    assert hung_up
    assert set(campaign.messages.values_list("status", "attempts")) == {("sent", 1)}
    assert len(sink.mails) == 20


@pytest.fixture(autouse=True)
def hang_up(monkeypatch):
    """What a killed process would: close its line to the logbook."""
    logs = []
    connect = Log._connected
    monkeypatch.setattr(Log, "_connected", lambda log: logs.append(log) or connect(log))
    yield
    for log in logs:
        log.close()


def worker_that_fenced(campaign, people: int) -> tuple[dispatch.Scribe, list[Outgoing]]:
    """A worker about to send these messages of a campaign by mail, window by window."""
    owner = uuid4()
    ids = [one.id for one in outbox.claim(owner, "email", people)]
    scribe = dispatch.Scribe(owner, "email", "smtp")
    fenced = scribe.fence(ids)
    assert [one.id for one in fenced] == ids
    return scribe, fenced


def sent(message: Outgoing, ref: str = "") -> Outcome:
    return Outcome(message.id, "sent", ref=ref)


def leases_end(campaign) -> None:
    campaign.messages.filter(status__in=["leased", "sending"]).update(lease_until="2020-01-01T00:00Z")
    outbox.recover_leases()


def fates(messages: list[Outgoing]) -> list[tuple[str, int, int]]:
    """What became of messages, how often each was tried, and how many workers died over it."""
    found = Message.objects.in_bulk([one.id for one in messages])
    return [(found[one.id].status, found[one.id].attempts, found[one.id].crashes) for one in messages]


@pytest.mark.parametrize("parks", [False, True])
def test_what_a_killed_worker_had_logged_is_not_sent_again(settings, monkeypatch, parks):
    settings.PARK_WHEN_IN_DOUBT = ["email"] if parks else []
    monkeypatch.setattr(dispatch, "WINDOW", 2)
    campaign = launch_to(6)
    scribe, messages = worker_that_fenced(campaign, 6)
    scribe.begin(messages[:2])
    later = Outcome(messages[1].id, "planned", "try_later")
    scribe.note(messages[:2], [sent(messages[0], ref='its "ref"'), later])
    scribe.begin(messages[2:4])
    scribe.note(messages[2:4], [sent(messages[2])])  # Killed here: nobody knows of this one.

    leases_end(campaign)

    in_doubt = ("unknown" if parks else "planned", 1, 1)
    assert fates(messages) == [("sent", 1, 0), *[in_doubt] * 3, *[("planned", 0, 0)] * 2]
    first = campaign.messages.get(pk=messages[0].id)
    assert (first.provider, first.provider_ref) == ("smtp", 'its "ref"')
    assert Event.objects.filter(name="Message Sent").count() == 1
    assert not Logbook.objects.exists()


def test_a_worker_killed_before_its_first_word_had_begun_one_window(monkeypatch):
    monkeypatch.setattr(dispatch, "WINDOW", 2)
    campaign = launch_to(4)
    _, messages = worker_that_fenced(campaign, 4)

    leases_end(campaign)

    assert fates(messages) == [*[("planned", 1, 1)] * 2, *[("planned", 0, 0)] * 2]


def test_without_a_log_all_that_was_fenced_is_in_doubt(monkeypatch):
    monkeypatch.setattr(dispatch, "WINDOW", 1)
    campaign = launch_to(3)
    _, messages = worker_that_fenced(campaign, 3)
    Logbook.objects.all().delete()  # As PostgreSQL empties it when it comes back from a crash.

    leases_end(campaign)

    assert fates(messages) == [("planned", 1, 1)] * 3


@pytest.mark.parametrize("position", [0, 2])
def test_what_got_no_answer_parks_whatever_its_worker_sends_next(settings, monkeypatch, position):
    settings.PARK_WHEN_IN_DOUBT = ["email"]
    monkeypatch.setattr(dispatch, "WINDOW", 1)
    campaign = launch_to(3)
    owner = uuid4()
    ids = [one.id for one in outbox.claim(owner, "email", 3)]
    scribe = dispatch.Scribe(owner, "email", "smtp")
    [lost] = scribe.fence([ids[position]])
    scribe.note([lost], [])
    [other] = scribe.fence([ids[1]])
    scribe.note([other], [sent(other)])

    leases_end(campaign)  # And here the worker is killed.

    assert outcome(campaign.messages.get(pk=lost.id)) == ("unknown", "no_answer")
    assert outcome(campaign.messages.get(pk=other.id)) == ("unknown", "no_answer")


def test_a_living_workers_log_is_left_alone_and_gone_with_its_mark(monkeypatch):
    monkeypatch.setattr(dispatch, "WINDOW", 1)
    campaign = launch_to(3)
    scribe, messages = worker_that_fenced(campaign, 3)
    for number, message in enumerate(messages):
        scribe.begin([message])
        if number == 2:
            break
        scribe.note([message], [sent(message)])

    outbox.recover_leases()
    assert set(campaign.messages.values_list("status", flat=True)) == {"sending"}
    scribe._log.settle()  # The answer to the last word; whoever recovers comes much later.
    log = Logbook.objects.get()
    assert (log.settled, log.begun, log.unsent) == (messages[1].id, messages[2].id, [])

    scribe.note([messages[2]], [sent(messages[2])])
    scribe.close()
    assert set(campaign.messages.values_list("status", flat=True)) == {"sent"}
    assert not Logbook.objects.exists()


def test_a_worker_that_outlives_a_crash_of_postgresql_writes_its_log_anew(monkeypatch):
    monkeypatch.setattr(dispatch, "WINDOW", 1)
    campaign = launch_to(4)
    scribe, messages = worker_that_fenced(campaign, 4)
    for message in messages[:2]:
        scribe.begin([message])
        scribe.note([message], [sent(message)])
    scribe._log.settle()
    with ThreadPoolExecutor(1) as elsewhere:
        elsewhere.submit(end_session, scribe._log._line.connection.info.backend_pid).result()
    Logbook.objects.all().delete()  # As PostgreSQL empties it when it comes back.

    for message in messages[2:]:
        scribe.begin([message])
        scribe.note([message], [sent(message)])

    scribe._log.settle()
    log = Logbook.objects.get()
    assert (log.settled, log.begun, log.unsent) == (messages[2].id, messages[3].id, [])
    crash_once(monkeypatch)
    scribe.close()
    assert fates(messages) == [("sent", 1, 0)] * 4
    assert Event.objects.filter(name="Message Sent").count() == 4


def test_a_worker_that_could_not_write_for_longer_than_its_lease_gets_a_last_call(settings):
    settings.RECOVERY_GRACE_SECONDS = 60
    campaign = launch_to(2)
    scribe, messages = worker_that_fenced(campaign, 2)
    scribe.note(messages[:1], [sent(messages[0])])
    leases_end(campaign)
    leases_end(campaign)
    assert set(campaign.messages.values_list("status", flat=True)) == {"sending"}

    scribe.close()  # The worker lives, and at last it can say so; of the other message nobody does.
    campaign.messages.filter(status="sending").update(called_at="2020-01-01T00:00Z")
    outbox.recover_leases()

    assert fates(messages) == [("sent", 1, 0), ("planned", 1, 1)]
    worker_that_fenced(campaign, 1)
    assert campaign.messages.get(pk=messages[1].id).called_at is None


def test_a_worker_that_woke_too_late_logs_nothing_for_others(monkeypatch):
    monkeypatch.setattr(dispatch, "WINDOW", 1)
    campaign = launch_to(2)
    sleeper, messages = worker_that_fenced(campaign, 2)
    leases_end(campaign)
    Message.objects.update(crashes=0)  # So that they travel together again.
    worker_that_fenced(campaign, 2)

    sleeper.note(messages[:1], [sent(messages[0])])
    sleeper.begin([messages[1]])
    sleeper._log.close()
    leases_end(campaign)

    assert "sent" not in campaign.messages.values_list("status", flat=True)


def test_what_was_fenced_ahead_and_not_begun_is_given_back(sink, monkeypatch):
    campaign = launch_to(60)
    monkeypatch.setattr(dispatch, "_ahead", lambda messages, seconds: 48)

    dispatch.dispatch_batch(owner=uuid4(), channels=["email"], should_stop=lambda: len(sink.mails) >= 24)

    assert len(sink.mails) == 24
    assert sorted(set(campaign.messages.values_list("status", "attempts"))) == [("planned", 0), ("sent", 1)]


@pytest.mark.parametrize(
    ("messages", "seconds", "most"), [(8, 0.002, 256), (64, 0.2, 96), (8, 1.0, 8), (1, 60.0, 8)]
)
def test_no_more_is_fenced_than_leaves_within_a_third_of_a_second(messages, seconds, most):
    assert dispatch._ahead(messages, seconds) == most


def crash_once(monkeypatch) -> None:
    """The next statement of a worker finds the database gone."""
    write, crashed = outbox.mark_and_fence, []

    def gone(*arguments, **options):
        if not crashed:
            crashed.append(True)
            raise OperationalError("server closed the connection unexpectedly")
        return write(*arguments, **options)

    monkeypatch.setattr(outbox, "mark_and_fence", gone)


def end_session(pid: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    connection.close()
