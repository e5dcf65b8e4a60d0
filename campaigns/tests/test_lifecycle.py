import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier, Event, Thread
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils.timezone import now

from campaigns import dispatch, outbox, services
from campaigns.models import Campaign, Message
from campaigns.rendering import Outgoing
from campaigns.tests.factories import launch, make_brand, make_campaign
from core.errors import DomainError
from core.tests.factories import make_user
from customers.services import record_consent
from customers.tests.factories import make_customer

pytestmark = pytest.mark.django_db(transaction=True)


def make_crowd(size: int) -> None:
    for number in range(size):
        make_customer(email=f"p{number}@x.example", consents=("email",))


def in_threads(work, times: int) -> list[object]:
    barrier = Barrier(times)

    def run(_: int) -> object:
        try:
            barrier.wait()
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(run, range(times)))


def test_two_beats_launch_a_campaign_once():
    make_crowd(20)
    campaign = make_campaign()
    services.schedule_campaign(campaign.pk, send_at=now() - timedelta(seconds=1), by=make_user())

    launched = in_threads(services.launch_due, 6)

    assert sum(launched) == 1
    assert campaign.messages.count() == 20


def test_many_dispatchers_send_each_message_once(sink):
    make_crowd(60)
    launch(make_campaign())

    def work() -> int:
        sent = 0
        while claimed := dispatch.dispatch_batch(owner=uuid4(), limit=10):
            sent += claimed
        return sent

    assert sum(in_threads(work, 4)) == 60
    assert sorted(sink.addresses) == sorted(set(sink.addresses))
    assert len(sink.addresses) == 60


def wait_for_a_blocked_query() -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
        time.sleep(0.01)
    raise AssertionError("The fence did not wait for the consent being withdrawn.")


def test_a_message_fenced_while_its_consent_is_withdrawn_waits_and_stays():
    make_crowd(1)
    campaign = launch(make_campaign())
    owner = uuid4()
    ids = [one.id for one in outbox.claim(owner, "email", 10)]

    def fence() -> list[Outgoing]:
        try:
            return outbox.fence(owner, ids)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            record_consent(
                campaign.messages.get().customer_id, channel="email", state="revoked", source="call"
            )
            fenced = pool.submit(fence)
            wait_for_a_blocked_query()
        assert fenced.result() == []
    assert campaign.messages.get().reason == "revoked"


def test_a_campaign_is_not_sent_before_its_hour():
    campaign = make_campaign()
    services.schedule_campaign(campaign.pk, send_at=now() + timedelta(hours=1), by=make_user())
    assert services.launch_due() == 0


def test_a_launch_above_the_limit_waits_for_another_person():
    make_crowd(3)
    author, approver = make_user(), make_user()
    campaign = make_campaign(brand=make_brand(approval_above=2), by=author)
    services.schedule_campaign(campaign.pk, send_at=None, by=author)
    campaign.refresh_from_db()
    assert campaign.status == "approval"
    assert services.launch_due() == 0
    with pytest.raises(DomainError, match="Another person"):
        services.approve_campaign(campaign.pk, by=author)

    services.approve_campaign(campaign.pk, by=approver)
    assert services.launch_due() == 1


def test_an_edit_voids_an_approval():
    make_crowd(3)
    author, approver = make_user(), make_user()
    campaign = make_campaign(brand=make_brand(approval_above=2), by=author)
    services.schedule_campaign(campaign.pk, send_at=now() + timedelta(hours=1), by=author)
    services.approve_campaign(campaign.pk, by=approver)

    services.update_campaign(campaign.pk, by=author, name="Something else")

    campaign.refresh_from_db()
    assert (campaign.status, campaign.approved_by, campaign.approved_revision) == ("draft", None, None)
    assert services.launch_due() == 0


def test_the_database_itself_refuses_self_approval():
    user = make_user()
    campaign = make_campaign(by=user)
    with pytest.raises(IntegrityError, match="four_eyes"), transaction.atomic():
        Campaign.objects.filter(pk=campaign.pk).update(requested_by=user, approved_by=user)


def test_a_paused_campaign_holds_and_resumes(sink):
    make_crowd(5)
    by = make_user()
    campaign = launch(make_campaign())
    owner = uuid4()
    ids = [one.id for one in outbox.claim(owner, "email", 2)]
    services.pause_campaign(campaign.pk, by=by)

    assert outbox.fence(owner, ids) == []
    assert dispatch.dispatch_batch(owner=uuid4()) == 0
    assert set(campaign.messages.values_list("status", flat=True)) == {"planned"}

    services.resume_campaign(campaign.pk, by=by)
    dispatch.dispatch_batch(owner=uuid4())
    assert len(sink.mails) == 5


def test_cancelling_mid_send_stops_what_has_not_left_and_keeps_the_sum(sink):
    make_crowd(12)
    campaign = launch(make_campaign())
    dispatch.dispatch_batch(owner=uuid4(), limit=4)
    owner = uuid4()
    ids = [one.id for one in outbox.claim(owner, "email", 4)]

    services.cancel_campaign(campaign.pk, by=make_user())

    assert outbox.fence(owner, ids) == []
    by_status = dict.fromkeys(("sent", "suppressed"), 0)
    for status in campaign.messages.values_list("status", flat=True):
        by_status[status] += 1
    assert by_status == {"sent": 4, "suppressed": 8}
    assert set(Message.objects.filter(status="suppressed").values_list("reason", flat=True)) == {"cancelled"}


def test_what_is_missing_is_named_before_a_launch():
    by = make_user()
    campaign = services.create_campaign(name="Empty", brand=make_brand(), by=by)
    with pytest.raises(services.NotReady, match=r"segment.*text") as refusal:
        services.schedule_campaign(campaign.pk, send_at=None, by=by)
    assert "channel" in str(refusal.value)
    campaign.refresh_from_db()
    assert campaign.status == "draft"


def test_a_campaign_that_started_can_no_longer_be_edited():
    make_crowd(1)
    campaign = launch(make_campaign())
    with pytest.raises(services.NotEditable):
        services.update_campaign(campaign.pk, by=make_user(), name="Too late")


def test_a_campaign_that_is_being_planned_says_so_instead_of_failing():
    make_crowd(1)
    campaign, by = make_campaign(), make_user()
    planned, seen = Event(), Event()

    def plan():
        with transaction.atomic():
            Campaign.objects.select_for_update().get(pk=campaign.pk)
            planned.set()
            seen.wait(10)
        connection.close()

    planner = Thread(target=plan)
    planner.start()
    try:
        assert planned.wait(10)
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = '200ms'")  # What a page may take, and less.
        with pytest.raises(services.Busy):
            services.update_campaign(campaign.pk, by=by, name="Another")
    finally:
        seen.set()
        planner.join()
        with connection.cursor() as cursor:
            cursor.execute("RESET statement_timeout")
    services.update_campaign(campaign.pk, by=by, name="Another")
