"""Members kept while several count, change rules and decide at once: real threads, real transactions."""

import threading
import time
from typing import Any

import pytest
from django.db import connection

from core.models import Cursor
from customers.services import record_consent
from customers.tests.factories import make_customer, make_event
from segments import follower, membership, services
from segments.compiler import Compiled
from segments.models import Membership
from segments.tests.factories import make_segment
from segments.tests.test_membership import MILANO, READERS, VISITED, members


def in_a_thread(work: Any) -> threading.Thread:
    def run_and_close() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run_and_close)
    thread.start()
    return thread


def wait_for(asked_of_the_server: str) -> None:
    with connection.cursor() as cursor:
        for _ in range(300):
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE %s"
                " AND state = 'active'",
                [f"%{asked_of_the_server}%"],
            )
            if cursor.fetchone()[0]:
                return
            time.sleep(0.02)
    raise AssertionError("nothing of the kind is running")


@pytest.fixture
def slow_here(monkeypatch):
    """In threads named “slow”, asking the rules takes a second after they were asked."""
    asked_anew = membership._asked_anew

    def slowly(*asked: Any) -> Compiled:
        compiled = asked_anew(*asked)
        if threading.current_thread().name == "slow":
            asleep = "SELECT 0 FROM (SELECT pg_sleep(1) AS over) AS sleep WHERE over IS NULL"
            return Compiled(f"{compiled.sql} UNION ALL {asleep}", compiled.params)
        return compiled

    monkeypatch.setattr(membership, "_asked_anew", slowly)


@pytest.mark.django_db(transaction=True)
def test_an_older_view_of_the_world_never_has_the_last_word(slow_here):
    one = make_customer(email="ada@example.com", consents=("email",))
    segment = make_segment(definition=READERS)

    def refresh_slowly() -> None:
        threading.current_thread().name = "slow"
        membership.refresh(segment.pk)

    slow = in_a_thread(refresh_slowly)
    wait_for("pg_sleep(1)")
    record_consent(one.pk, channel="email", state="revoked", source="test", evidence="test")
    membership.refresh(segment.pk)  # Waits for the slow one, then sees that they said no.
    slow.join()
    assert members(segment) == set()
    segment.refresh_from_db()
    assert segment.match_count == 0


@pytest.mark.django_db(transaction=True)
def test_refreshes_at_once_open_one_spell_each():
    people = [make_customer(city="Milano") for _ in range(30)]
    segment = make_segment(definition=MILANO)
    threads = [in_a_thread(lambda: membership.refresh(segment.pk)) for _ in range(4)]
    for thread in threads:
        thread.join()
    assert Membership.objects.count() == len(people)
    segment.refresh_from_db()
    assert segment.match_count == len(people)


@pytest.mark.django_db(transaction=True)
def test_what_rules_found_that_were_changed_meanwhile_is_dropped(slow_here):
    make_customer(city="Milano")
    segment = make_segment(name="S", definition=MILANO)

    def refresh_slowly() -> None:
        threading.current_thread().name = "slow"
        membership.refresh(segment.pk)

    slow = in_a_thread(refresh_slowly)
    wait_for("pg_sleep(1)")
    services.update_segment(segment.pk, name="S", definition=READERS, by=None)
    slow.join()
    segment.refresh_from_db()
    assert (segment.match_count, segment.counted_at) == (None, None)
    assert not Membership.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_decision_by_hand_does_not_wait_for_a_count_and_is_not_lost_to_it(slow_here):
    one = make_customer()
    segment = membership.refresh(make_segment(definition=MILANO).pk)
    follower.follow()

    def refresh_slowly() -> None:
        threading.current_thread().name = "slow"
        membership.refresh(segment.pk)

    slow = in_a_thread(refresh_slowly)
    wait_for("pg_sleep(1)")
    services.add_members(segment.pk, customer_ids=[one.pk], by=None)
    assert slow.is_alive()
    slow.join()
    follower.follow()
    assert members(segment) == {one.pk}


@pytest.mark.django_db(transaction=True)
def test_an_event_between_the_first_count_and_its_commit_is_not_lost(slow_here):
    one = make_customer()
    follower.follow()
    segment = make_segment(definition=VISITED)

    def refresh_slowly() -> None:
        threading.current_thread().name = "slow"
        membership.refresh(segment.pk)

    slow = in_a_thread(refresh_slowly)
    wait_for("pg_sleep(1)")
    make_event(one, "Store Visited")  # The slow one has asked already.
    assert follower.follow() > 0  # Waits for it: only then there are members to follow.
    slow.join()
    assert members(segment) == {one.pk}
    assert Cursor.objects.get(name="segments").event_id
