from datetime import timedelta

import pytest
from django.db import connection
from django.utils.timezone import now

from core.errors import DomainError
from core.tests.factories import make_user
from customers.contact import count_reachable
from customers.models import Channel, Identifier
from customers.services import suppress_address
from customers.tests.factories import make_customer, make_event
from orders.tests.factories import make_order
from segments import membership, questions, services, tasks
from segments.compiler import Compiled
from segments.limits import TooSlow, time_limit
from segments.models import ListMember, Segment
from segments.tests.factories import EVERYBODY, make_list, make_segment
from segments.tree import TreeError, parse_tree

pytestmark = pytest.mark.django_db

BUYERS = {
    "type": "orders",
    "measure": "count",
    "op": "at_least",
    "value": 2,
    "window": {"type": "last", "days": 90},
}


def uses(*segments: Segment) -> dict:
    return {"type": "any", "nodes": [{"type": "segment", "segment": one.pk} for one in segments]}


# --- keeping --------------------------------------------------------------------------------------


def test_a_segment_keeps_who_made_it_and_a_checked_definition():
    by = make_user()
    segment = services.create_segment(name="  Buyers ", definition=BUYERS, by=by)
    assert (segment.name, segment.created_by, segment.definition) == ("Buyers", by, BUYERS)
    with pytest.raises(TreeError):
        services.create_segment(name="Broken", definition={"type": "orders"}, by=by)
    assert Segment.objects.count() == 1


def test_a_name_is_taken_once():
    make_segment(name="VIP")
    with pytest.raises(DomainError, match="already a segment called “VIP”"):
        services.create_segment(name="VIP", definition=EVERYBODY, by=None)
    other = make_segment(name="Other")
    with pytest.raises(DomainError, match="already"):
        services.update_segment(other.pk, name="VIP", definition=EVERYBODY, by=None)


def test_a_changed_definition_voids_the_count_and_a_new_name_does_not():
    make_customer()
    segment = services.count_segment(make_segment(name="All").pk)
    assert segment.match_count == 1
    services.update_segment(segment.pk, name="Everybody", definition=EVERYBODY, by=None)
    segment.refresh_from_db()
    assert segment.counted_at is not None
    services.update_segment(segment.pk, name="Everybody", definition=BUYERS, by=None)
    segment.refresh_from_db()
    assert (segment.match_count, segment.counted_at, segment.reachable) == (None, None, {})


def test_a_segment_cannot_come_to_contain_itself():
    a = make_segment(name="A")
    b = make_segment(name="B", definition=uses(a))
    with pytest.raises(TreeError, match="“A” → “B” → “A”"):
        services.update_segment(a.pk, name="A", definition=uses(b), by=None)
    with pytest.raises(TreeError, match="“A” → “A”"):
        services.update_segment(a.pk, name="A", definition=uses(a), by=None)
    a.refresh_from_db()
    assert a.definition == EVERYBODY


def test_what_is_used_is_not_archived_and_what_is_archived_is_not_used():
    a = make_segment(name="A")
    b = make_segment(name="B", definition={"type": "not", "node": uses(a)})
    with pytest.raises(DomainError, match="“A” is used by “B”"):
        services.archive_segment(a.pk, by=None)
    services.archive_segment(b.pk, by=None)
    services.archive_segment(a.pk, by=None)
    assert not Segment.objects.active().exists()
    with pytest.raises(TreeError, match="“A” is in the archive"):
        services.create_segment(name="C", definition=uses(a), by=None)
    with pytest.raises(DomainError, match="is in the archive"):
        services.update_segment(a.pk, name="A", definition=EVERYBODY, by=None)
    services.restore_segment(a.pk, by=None)
    assert Segment.objects.active().get() == a


def test_a_copy_has_a_free_name_and_the_people_of_a_list():
    one = make_customer()
    friends = make_list(one, name="Friends")
    first = services.duplicate_segment(friends.pk, by=None)
    second = services.duplicate_segment(friends.pk, by=None)
    assert (first.name, second.name) == ("Copy of Friends", "Copy of Friends 2")
    assert list(first.members.all()) == [one]


def test_who_changed_a_segment_is_kept_and_a_count_is_no_change():
    by = make_user()
    segment = services.create_segment(name="A", definition=EVERYBODY, by=by)
    services.update_segment(segment.pk, name="B", definition=EVERYBODY, by=by)
    services.count_segment(segment.pk)
    lines = segment.history.order_by("pgh_id")
    assert [line.name for line in lines] == ["A", "B"]
    assert all(line.pgh_context.metadata["user"] == by.pk for line in lines)


# --- fixed lists ----------------------------------------------------------------------------------


def test_pasted_identifiers_find_their_people_and_the_rest_is_named():
    by = make_user()
    ada = make_customer(email="ada@example.com")
    bo = make_customer(phone="+393405550147")
    card = make_customer()
    Identifier.objects.create(customer=card, kind="card", value="8820 1147")
    erased = make_customer(email="gone@example.com", status="erased")
    segment = make_list()
    pasted = (
        "ADA@example.com, 340 555 0147\n8820 1147;nobody@example.com\ngone@example.com\n\nada@example.com"
    )

    outcome = services.add_members(segment.pk, pasted=pasted, by=by)

    assert set(segment.members.all()) == {ada, bo, card}
    assert (outcome.changed, outcome.already) == (3, 0)
    assert outcome.unknown == ["nobody@example.com", "gone@example.com"]
    assert erased not in segment.members.all()
    again = services.add_members(segment.pk, pasted=pasted, by=by)
    assert (again.changed, again.already) == (0, 3)
    assert ListMember.objects.filter(added_by=by).count() == 3


def test_what_means_two_people_adds_neither():
    for kind in ("card", "user_id"):
        Identifier.objects.create(customer=make_customer(), kind=kind, value="1001")
    segment = make_list()
    outcome = services.add_members(segment.pk, pasted="1001", by=None)
    assert outcome.ambiguous == ["1001"]
    assert not segment.members.exists()


def test_junk_in_a_paste_is_reported_not_an_error():
    segment = make_list()
    junk = ["a\x00b", "x" * 5000, "@", "null", "+", "%"]
    outcome = services.add_members(segment.pk, pasted="\n".join(junk), by=None)
    assert outcome.unknown == junk
    with pytest.raises(DomainError, match="at most 10000"):
        services.add_members(segment.pk, pasted="\n".join(map(str, range(10_001))), by=None)


def test_only_a_segment_by_rules_can_be_left_to_them():
    with pytest.raises(DomainError, match="is a fixed list"):
        services.leave_to_rules(make_list().pk, customer_ids=[make_customer().pk])


def test_taking_people_off_voids_the_count():
    one, other = make_customer(), make_customer()
    segment = services.count_segment(make_list(one, other).pk)
    assert services.remove_members(segment.pk, customer_ids=[one.pk], by=None).changed == 1
    assert services.remove_members(segment.pk, customer_ids=[one.pk], by=None).changed == 0
    segment.refresh_from_db()
    assert segment.counted_at is None
    assert services.count_segment(segment.pk).match_count == 1


# --- counting -------------------------------------------------------------------------------------


def test_a_count_says_how_many_match_and_how_many_can_be_reached():
    make_customer(email="a@example.com", phone="+393405550101", consents=("email", "sms"))
    make_customer(email="b@example.com", consents=("email",))
    make_customer(email="c@example.com")
    make_customer(phone="+393405550102", consents=("sms",))
    suppress_address(channel="sms", address="+393405550102", reason="manual")
    make_customer(status="erased")

    segment = services.count_segment(make_segment().pk)

    assert segment.match_count == 4
    assert segment.reachable == {"email": 2, "sms": 1}
    assert segment.reachable == count_reachable(
        "(SELECT id FROM customers_customer WHERE status = 'known')", {}, list(Channel.values)
    )
    assert segment.counted_at
    assert segment.count_ms is not None


SLOW = Compiled("SELECT 1::bigint AS id FROM pg_sleep(5)", {})


def test_a_count_that_takes_too_long_is_stopped_kindly_and_left_to_the_workers(settings, monkeypatch):
    settings.SEGMENT_WEB_TIMEOUT_MS = 50
    segment = make_segment()
    monkeypatch.setattr(membership, "_asked_anew", lambda *asked: SLOW)
    with pytest.raises(TooSlow, match="takes longer than"):
        services.count_segment(segment.pk)
    segment.refresh_from_db()
    assert not segment.has_timed_out
    assert Segment.objects.due(now()).get() == segment


def test_a_worker_that_runs_out_of_time_says_so_and_tries_again_later(settings, monkeypatch):
    settings.SEGMENT_TIMEOUT_MS = 50
    segment = make_segment()
    monkeypatch.setattr(membership, "_asked_anew", lambda *asked: SLOW)
    assert membership.refresh_due(limit=5) == 0
    segment.refresh_from_db()
    assert segment.has_timed_out
    assert segment.match_count is None
    assert segment.due_at - segment.count_failed_at == membership.SOON
    Segment.objects.update(due_at=now())
    membership.refresh_due(limit=5)
    segment.refresh_from_db()
    assert segment.due_at - segment.count_failed_at == membership.AGAIN


def test_people_reached_may_be_older_than_the_count(settings, monkeypatch):
    make_customer(email="a@example.com", consents=("email",))
    segment = services.count_segment(make_segment().pk)
    make_customer()

    def too_long(*asked):
        raise TooSlow

    monkeypatch.setattr(membership, "count_reachable", too_long)
    segment = services.count_segment(segment.pk)
    assert (segment.match_count, segment.reachable) == (2, {"email": 1, "sms": 0})


def test_the_time_limit_ends_with_the_question(settings):
    settings.SEGMENT_TIMEOUT_MS = 50
    with time_limit():
        pass
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.1)")  # Would be cancelled under the limit.
        for name, usual in (("statement_timeout", "0"), ("random_page_cost", "4")):
            cursor.execute(f"SHOW {name}")
            assert cursor.fetchone() == (usual,)


def test_segments_that_are_due_are_counted_the_new_ones_first():
    make_customer()
    fresh, old, never, archived = (make_segment(name=name) for name in ("fresh", "old", "never", "archived"))
    moment = now()
    due = {fresh: moment + timedelta(hours=1), old: moment - timedelta(hours=1)}
    for one, at in due.items():
        Segment.objects.filter(pk=one.pk).update(due_at=at, counted_at=moment, match_count=7)
    Segment.objects.filter(pk=archived.pk).update(archived_at=moment)
    assert list(Segment.objects.due(moment)) == [never, old]
    tasks.recount_segments()
    tasks.recount_segments()
    counts = dict(Segment.objects.values_list("name", "match_count"))
    assert counts == {"fresh": 7, "old": 1, "never": 1, "archived": None}


def test_a_segment_that_cannot_be_counted_does_not_hold_up_the_others():
    a = make_segment(name="A")
    Segment.objects.filter(pk=a.pk).update(definition=uses(a))
    b = make_segment(name="B")
    assert membership.refresh_due(limit=10) == 1
    assert membership.refresh_due(limit=10) == 0
    b.refresh_from_db()
    assert b.match_count == 0


# --- why ------------------------------------------------------------------------------------------


def test_an_explanation_says_yes_or_no_condition_by_condition():
    vip = make_segment(
        name="VIP", definition={"type": "attribute", "name": "city", "op": "is", "value": "Milano"}
    )
    buyer = make_customer(first_name="Ada", city="milano")
    make_order(buyer)
    make_order(buyer)
    visitor = make_customer(city="Roma")
    make_event(visitor, "Store Visited")
    tree = parse_tree(
        {
            "type": "all",
            "nodes": [
                BUYERS,
                {"type": "segment", "segment": vip.pk},
                {"type": "not", "node": {"type": "event", "name": "Store Visited"}},
            ],
        }
    )
    found = questions.explain_many(tree, [buyer.pk, visitor.pk])
    said = [(one.sentence, one.holds) for one in found[buyer.pk].conditions]
    assert said == [
        ("Bought at least 2 times in the last 90 days", True),
        ("Is in “VIP”", True),
        ("Did “Store Visited”", False),
    ]
    assert found[buyer.pk].holds
    assert not found[visitor.pk].holds
    inside = found[visitor.pk].parts[1].parts[0]
    assert (inside.sentence, inside.holds) == ("City is Milano", False)


def test_explaining_ten_people_takes_one_statement(django_assert_num_queries):
    people = [make_customer() for _ in range(10)]
    tree = parse_tree({"type": "all", "nodes": [BUYERS, {"type": "reachable", "channel": "email"}]})
    with django_assert_num_queries(5):  # The question, its savepoint, and the time limit set and unset.
        assert len(questions.explain_many(tree, [one.pk for one in people])) == 10


def test_the_segments_of_a_person_come_with_a_reason_and_a_broken_one_says_so():
    one = make_customer(city="Milano")
    everybody, buyers = make_segment(name="All"), make_segment(name="Buyers", definition=BUYERS)
    friends = make_list(one)
    broken = make_segment(name="Broken")
    Segment.objects.filter(pk=broken.pk).update(definition=uses(broken))
    broken.refresh_from_db()
    found = questions.segments_of(one, [everybody, buyers, friends, broken])
    assert [(f.segment, f.is_member) for f in found] == [
        (everybody, True),
        (buyers, False),
        (friends, True),
        (broken, False),
    ]
    assert "cannot contain itself" in found[-1].problem


def test_overlap_counts_both_and_each_alone():
    a, b, c = (make_customer() for _ in range(3))
    first, second = make_list(a, b), make_list(b, c)
    assert questions.overlap(first.pk, second.pk) == questions.Overlap(1, 1, 1)
    assert questions.overlap(first.pk, make_segment().pk) == questions.Overlap(2, 0, 1)
