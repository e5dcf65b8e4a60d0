from collections import deque
from datetime import timedelta
from threading import Event as Signal
from threading import Thread
from uuid import uuid4

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils.timezone import now

from campaigns import breaker, dispatch, outbox, repair, services
from campaigns.channels.base import Outcome
from campaigns.models import Breaker, Campaign, Message, Repair
from campaigns.repair import Selection
from campaigns.tests.factories import launch, make_campaign
from core.errors import DomainError
from core.history import read_history
from core.roles import Role
from core.tests.factories import make_user
from customers.models import Event
from customers.tests.factories import make_customer

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = "2020-01-01T00:00Z"


@pytest.fixture
def campaign(sink):
    for number in range(6):
        make_customer(email=f"p{number}@x.example", consents=("email",))
    return launch(make_campaign())


def dispatch_everything() -> None:
    while dispatch.dispatch_batch(owner=uuid4(), channels=["email"]):
        pass
    services.finish_campaigns()


def fenced(messages: int) -> list[int]:
    """Messages a worker was sending when it died."""
    owner = uuid4()
    ids = [one.id for one in outbox.claim(owner, "email", messages)]
    outbox.fence(owner, ids)
    Message.objects.filter(pk__in=ids).update(lease_until=LONG_AGO)
    return ids


def statuses(campaign: Campaign) -> list[tuple[str, str]]:
    return sorted(set(campaign.messages.values_list("status", "reason")))


def fail(campaign: Campaign, reason: str = "poison", **fields) -> None:
    campaign.messages.update(
        status="failed", reason=reason, crashes=3, attempts=3, settled_at=now(), **fields
    )
    services.finish_campaigns()
    campaign.refresh_from_db()
    assert campaign.status == "sent"


# --- park -----------------------------------------------------------------------------------------


def test_what_is_parked_is_not_sent_until_it_is_replayed(campaign, sink):
    selection = Selection(campaign=campaign.pk)
    assert [found.messages for found in repair.parkable(selection)] == [6]

    assert repair.park(selection, by="ada", reason="the wrong price") == 6
    assert repair.park(selection, by="ada") == 0
    dispatch_everything()
    assert sink.mails == []
    assert statuses(campaign) == [("failed", "parked")]
    campaign.refresh_from_db()
    assert campaign.status == "sent"  # Nothing waits any more.

    parked = Selection(campaign=campaign.pk, status="failed", reason="parked")
    assert repair.replay(parked, by="ada") == 6
    assert repair.replay(parked, by="ada") == 0
    dispatch_everything()
    assert len(sink.mails) == 6
    campaign.refresh_from_db()
    assert (campaign.status, statuses(campaign)) == ("sent", [("sent", "")])


def test_what_is_in_doubt_becomes_unknown_and_nobody_tries_it_again(campaign, sink):
    doubtful = fenced(2)

    assert repair.park(Selection(channel="email"), by="ada") == 6

    outbox.recover_leases()
    dispatch_everything()
    assert sink.mails == []
    assert set(campaign.messages.filter(pk__in=doubtful).values_list("status", "reason")) == {
        ("unknown", "no_answer")
    }


def test_what_a_live_worker_is_sending_still_goes_and_what_it_only_claimed_does_not(campaign, sink):
    owner = uuid4()
    ids = [one.id for one in outbox.claim(owner, "email", 6)]
    going = outbox.fence(owner, ids[:2])

    assert repair.park(Selection(channel="email"), by="ada") == 4

    assert outbox.fence(owner, ids[2:]) == []
    outbox.mark(owner, [Outcome(one.id, "sent") for one in going])
    assert sorted(campaign.messages.values_list("status", flat=True)) == ["failed"] * 4 + ["sent"] * 2


def test_other_campaigns_and_channels_are_left_alone(campaign):
    make_customer(phone="+393331234567", consents=("sms",))
    other = launch(make_campaign(channels=("email", "sms")))

    repair.park(Selection(campaign=other.pk, channel="sms"), by="ada")

    assert Message.objects.filter(reason="parked").count() == 1
    assert campaign.messages.filter(status="planned").count() == 6
    assert other.messages.filter(channel="email", status="planned").count() == 6


def test_parking_waits_for_nobody(campaign):
    """A row somebody else has locked is about to leave or be settled: it is theirs."""
    first = campaign.messages.order_by("pk").first().pk
    is_held, may_end = Signal(), Signal()

    def hold() -> None:
        with transaction.atomic():
            Message.objects.select_for_update().get(pk=first)
            is_held.set()
            may_end.wait(60)
        connection.close()

    holder = Thread(target=hold)
    holder.start()
    is_held.wait(60)
    try:
        assert repair.park(Selection(campaign=campaign.pk), by="ada") == 5
    finally:
        may_end.set()
        holder.join()
    assert campaign.messages.get(pk=first).status == "planned"


# --- replay ---------------------------------------------------------------------------------------


def test_a_replayed_message_travels_alone_and_arrives(campaign, sink):
    fail(campaign)

    assert repair.replay(Selection(status="failed", reason="poison"), by="ada") == 6

    queue = deque(outbox.claim(uuid4(), "email", 10))
    assert [len(dispatch._next_ids(queue, dispatch.WINDOW)) for _ in range(6)] == [1] * 6
    campaign.messages.update(lease_until=LONG_AGO)
    outbox.recover_leases()
    dispatch_everything()
    assert statuses(campaign) == [("sent", "")]
    assert Event.objects.filter(name="Message Sent").count() == 6


def test_every_gate_judges_what_is_replayed(campaign, sink):
    fail(campaign, expires_at=now() - timedelta(minutes=1))
    selection = Selection(status="failed")
    assert [(found.messages, found.expired) for found in repair.replayable(selection)] == [(6, 6)]

    repair.replay(selection, by="ada")
    dispatch_everything()

    assert sink.mails == []
    assert statuses(campaign) == [("suppressed", "expired")]


def test_what_fails_again_at_once_is_not_replayed_for_ever(campaign, monkeypatch):
    fail(campaign)
    portion = repair._replay_portion

    def fails_again(params):
        done = portion(params)
        campaign.messages.filter(status="planned").update(
            status="failed", reason="poison", settled_at=now() + timedelta(seconds=1)
        )
        return done

    monkeypatch.setattr(repair, "_replay_portion", fails_again)
    assert repair.replay(Selection(status="failed"), by="ada") == 6


def test_a_cancelled_campaign_stays_cancelled(campaign):
    fail(campaign)
    Campaign.objects.filter(pk=campaign.pk).update(status="cancelled")
    selection = Selection(status="failed")

    assert [found.may_go for found in repair.replayable(selection)] == [False]
    assert repair.replay(selection, by="ada") == 0


def test_replaying_and_cancelling_do_not_cross(campaign):
    """Whoever cancels holds the campaign: replaying waits, and then sees that it is over.

    Without the lock on the campaign its messages would wait for ever in one that is cancelled.
    """
    campaign.messages.filter(address="p0@x.example").update(
        status="failed", reason="poison", settled_at=now()
    )
    is_cancelling, is_waiting = Signal(), Signal()

    def cancel() -> None:
        with transaction.atomic():
            services.cancel_campaign(campaign.pk, by=make_user())
            is_cancelling.set()
            is_waiting.wait(2)
        connection.close()

    thread = Thread(target=cancel)
    thread.start()
    is_cancelling.wait(60)
    done = repair.replay(Selection(status="failed"), by="ada")
    thread.join()

    assert done == 0
    campaign.refresh_from_db()
    assert campaign.status == "cancelled"
    assert not campaign.messages.filter(status="planned").exists()


@pytest.mark.parametrize(
    "wrong", [{"channel": "pigeon"}, {"status": "lost"}, {"reason": "why"}, {"campaign": 424242}]
)
def test_what_does_not_exist_cannot_be_chosen(wrong):
    with pytest.raises(DomainError):
        Selection(**wrong)


@pytest.mark.parametrize("status", ["", "sent", "planned", "bounced", "suppressed"])
def test_only_what_failed_or_is_unknown_can_be_sent_again(status):
    with pytest.raises(DomainError, match="failed and unknown"):
        repair.replay(Selection(status=status), by="ada")


# --- breakers, and what is written down -----------------------------------------------------------


def test_a_provider_is_believed_again_at_once():
    breaker.note_failures("smtp", 20, "451 busy")
    assert breaker.allowance("smtp", 500).messages == 0

    repair.reset_breaker("smtp", by="ada")

    assert breaker.allowance("smtp", 500).messages == 500
    with pytest.raises(DomainError, match="smtp"):
        repair.reset_breaker("pigeon", by="ada")


def test_a_rest_is_over_the_moment_the_breaker_is_reset():
    breaker.note_failures("smtp", 20, "451 busy")
    repair.reset_breaker("smtp", by="ada")
    assert Breaker.objects.get().open_until is None


def test_who_did_what_and_why_is_written_down_for_good(campaign):
    repair.park(Selection(campaign=campaign.pk), by="ada", reason="the wrong price")

    line = Repair.objects.get()
    assert (line.kind, line.messages, line.by, line.reason) == ("park", 6, "ada", "the wrong price")
    assert line.selection == {"campaign": campaign.pk}
    with pytest.raises(DatabaseError, match="Cannot update or delete"), transaction.atomic():
        line.delete()
    entries, _ = read_history(reader=make_user(role=Role.ADMINISTRATOR), kind="campaigns.repair")
    assert entries[0].name == "Set aside: 6"
