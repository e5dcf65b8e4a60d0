"""Members kept: refreshed by the difference, followed from the log, decided by hand, and never wrong."""

import random
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils.timezone import now
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.tests.factories import make_user
from customers.models import ConsentEvent, Customer, Event, Identifier
from customers.services import record_consent
from customers.tests.factories import make_customer, make_event
from orders.tests.factories import make_order
from segments import follower, membership, questions, services
from segments.compiler import audience_sql, compile_tree, in_segment
from segments.models import ListMember, Membership, Override, Segment, SegmentDay, Touch
from segments.tests.factories import EVERYBODY, make_list, make_segment
from segments.tests.naive import World
from segments.tests.test_compiler import (
    NOW,
    conditions,
    depth,
    populate,
    run,
    some_properties,
    trees,
    with_ids,
)

MILANO = {"type": "attribute", "name": "city", "op": "is", "value": "Milano"}
READERS = {"type": "consent", "channel": "email", "state": "granted"}
VISITED = {"type": "event", "name": "Store Visited"}


def members(segment: Segment) -> set[int]:
    spells = Membership.objects.filter(segment=segment, left_at=None).values_list("customer_id", flat=True)
    found = list(spells)
    assert len(found) == len(set(found))
    return set(found)


def asked(segment: Segment, at: datetime) -> set[int]:
    """Whom the rules find when every one of them is asked."""
    return set(run(compile_tree(in_segment(segment.pk), at)))


@pytest.fixture
def at_noon(monkeypatch):
    """The world of the compiler's tests stands still at its NOW."""
    monkeypatch.setattr(membership, "now", lambda: NOW)
    monkeypatch.setattr(follower, "now", lambda: NOW)


# --- a refresh ------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_refresh_keeps_who_came_and_who_went():
    one, other = make_customer(city="Milano"), make_customer(city="Roma")
    segment = membership.refresh(make_segment(definition=MILANO).pk)
    assert members(segment) == {one.pk}
    assert (segment.match_count, segment.last_entered, segment.last_left) == (1, 0, 0)
    Customer.objects.filter(pk=one.pk).update(city="Roma")
    Customer.objects.filter(pk=other.pk).update(city="Milano")
    segment = membership.refresh(segment.pk)
    assert members(segment) == {other.pk}
    assert (segment.match_count, segment.last_entered, segment.last_left) == (1, 1, 1)
    day = SegmentDay.objects.get(segment=segment)
    assert (day.entered, day.left, day.members) == (1, 1, 1)


@pytest.mark.django_db
def test_a_first_count_is_not_planned_as_a_search_for_everybody_among_everybody():
    Customer.objects.bulk_create(Customer(first_name=f"Ada {number}") for number in range(300))
    segment, at = make_segment(definition=EVERYBODY), now()
    wanted = membership._asked_anew(segment.pk, at, None)
    statement = membership._DIFFERENCE.format(wanted=wanted.sql, these="")
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE segments_membership")  # A new house whose empty tables were analysed,
        cursor.execute("ANALYZE segments_membership, customers_customer")  # as after a restore.

        cursor.execute(f"EXPLAIN {statement}", wanted.params | {"segment": segment.pk, "at": at})
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Full Join" in plan
    assert "Nested Loop" not in plan


@pytest.mark.django_db
def test_who_comes_back_has_another_spell():
    one = make_customer(city="Milano")
    segment = make_segment(definition=MILANO)
    for city in ("Milano", "Roma", "Roma", "Milano"):
        Customer.objects.filter(pk=one.pk).update(city=city)
        membership.refresh(segment.pk)
    first, second = Membership.objects.filter(segment=segment).order_by("pk")
    assert first.entered_at <= first.left_at <= second.entered_at
    assert second.left_at is None


@pytest.mark.django_db
def test_a_refresh_that_changes_nothing_writes_no_spell():
    make_customer(city="Milano")
    segment = membership.refresh(make_segment(definition=MILANO).pk)
    before = list(Membership.objects.values_list("pk", "entered_at"))
    membership.refresh(segment.pk)
    assert list(Membership.objects.values_list("pk", "entered_at")) == before


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(drawn=trees.filter(lambda tree: depth(tree) <= 5), dice=st.randoms(use_true_random=False))
@pytest.mark.django_db
def test_members_kept_are_whom_the_language_means(world, at_noon, drawn, dice):
    with transaction.atomic():
        ids = {one.name: pk for pk, one in world.segments.items()}
        membership.refresh(ids["Nested"])  # Read from its members where the drawn tree names it.
        segment = make_segment(definition={"type": "all", "nodes": [with_ids(drawn, ids)]})
        decided = {one: dice.choice(["include", "exclude"]) for one in dice.sample(list(world.people), 4)}
        Override.objects.bulk_create(
            Override(segment=segment, customer_id=pk, kind=kind, at=NOW) for pk, kind in decided.items()
        )
        membership.refresh(segment.pk)
        assert members(segment) == World.load().matching(in_segment(segment.pk), NOW) == asked(segment, NOW)
        some = dice.sample(list(world.people), 5)
        narrowed = run(compile_tree(in_segment(segment.pk), NOW, only=some))
        assert sorted(narrowed) == sorted(members(segment) & set(some))
        transaction.set_rollback(True)


@pytest.fixture(params=[4, 5])
def world(request):
    populate(request.param)
    a_list = {"type": "segment", "segment": Segment.objects.get(name="A list").pk}
    nothing = {"type": "orders", "measure": "count", "op": "exactly", "value": 0}
    make_segment(name="Nested", definition={"type": "any", "nodes": [a_list, nothing]})
    return World.load()


@pytest.mark.django_db
def test_the_past_of_a_segment_can_be_kept_from_what_is_known_of_it():
    early, late = make_customer(created_at=now() - timedelta(days=9)), make_customer()
    for one, ago in ((early, 5), (late, 1)):
        at = now() - timedelta(days=ago)
        Customer.objects.filter(pk=one.pk).update(created_at=at - timedelta(days=1))
        make_event(one, "Store Visited", at=at)
    segment = make_segment(definition=VISITED | {"window": {"type": "last", "days": 3}})
    membership.relive(segment.pk, [now() - timedelta(days=back, seconds=-1) for back in (5, 3, 1)])
    membership.refresh(segment.pk)
    days = list(segment.days.order_by("day").values_list("entered", "left", "members"))
    assert days == [(0, 0, 1), (0, 0, 1), (1, 1, 1), (0, 0, 1)]
    assert members(segment) == {late.pk}


# --- changes followed -----------------------------------------------------------------------------


def follow_here(after: int) -> None:
    """What `follow` does, inside the one transaction of a test; events after this id are new."""
    events = list(Event.objects.filter(pk__gt=after).order_by("pk"))
    for start in range(0, len(events), 3):
        follower._follow_events(events[start : start + 3])
    while follower._take_notes():
        pass


def change_something(dice: random.Random) -> None:
    one = Customer.objects.get(pk=dice.choice(list(Customer.objects.values_list("pk", flat=True))))
    at = NOW - timedelta(days=dice.choice([0, 1, 9, 40, 300]))
    match dice.randrange(9):
        case 0:
            make_event(
                one, dice.choice(["Product Viewed", "Cart Updated"]), at=at, properties=some_properties(dice)
            )
            Customer.objects.filter(pk=one.pk).update(last_seen_at=at)
        case 1:
            order = make_order(one, at=at, total_minor=dice.choice([0, 2500]))
            make_event(one, "Order Completed", at=order.placed_at)
        case 2:
            state = dice.choice(["granted", "revoked"])
            ConsentEvent.objects.create(
                customer=one, channel="email", state=state, source="test", effective_at=at
            )
        case 3:
            Customer.objects.filter(pk=one.pk).update(
                city=dice.choice(["Milano", "Roma"]), traits=some_properties(dice)
            )
        case 4:
            Customer.objects.filter(pk=one.pk).update(status=dice.choice(["known", "erased"]))
        case 5:
            Identifier.objects.create(
                customer=one, kind="card", value=f"new{one.pk}.{dice.random()}", created_at=at
            )
        case 6:
            Identifier.objects.filter(customer=one).delete()
        case 7:
            a_list = Segment.objects.get(name="A list")
            if not ListMember.objects.filter(segment=a_list, customer=one).delete()[0]:
                ListMember.objects.create(segment=a_list, customer=one, added_at=at)
        case 8:
            segment = Segment.objects.get(name="Nested")
            Override.objects.filter(segment=segment, customer=one).delete()
            kind = dice.choice(["include", "exclude"])
            Override.objects.create(segment=segment, customer=one, kind=kind, at=at)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    drawn=st.lists(trees.filter(lambda tree: depth(tree) <= 4), min_size=1, max_size=2),
    leaf=conditions,
    dice=st.randoms(use_true_random=False),
)
@pytest.mark.django_db
def test_following_the_changes_comes_to_what_a_full_count_comes_to(world, at_noon, drawn, leaf, dice):
    with transaction.atomic():
        ids = {one.name: pk for pk, one in world.segments.items()}
        segments = [make_segment(definition=with_ids(tree, ids)) for tree in [*drawn, leaf]]
        named = [{"type": "segment", "segment": one.pk, "member": dice.random() < 0.5} for one in segments]
        segments.append(make_segment(definition={"type": "any", "nodes": named}))
        segments.append(Segment.objects.get(name="Nested"))
        for pk in membership._in_order(one.pk for one in segments):
            membership.refresh(pk)
        Touch.objects.all().delete()
        last = Event.objects.order_by("pk").last().pk
        for _ in range(dice.randrange(1, 8)):
            change_something(dice)

        follow_here(last)

        for segment in segments:
            assert members(segment) == asked(segment, NOW), segment.definition
            segment.refresh_from_db()
            assert segment.match_count == len(members(segment))
            before = Membership.objects.count()
            assert membership.refresh(segment.pk).last_entered == 0
            assert Membership.objects.count() == before
        transaction.set_rollback(True)


@pytest.mark.django_db(transaction=True)
def test_what_happens_after_the_first_count_is_followed_once():
    early = make_customer(city="Milano")
    make_event(early, "Store Visited")
    segment = membership.refresh(make_segment(definition=VISITED).pk)
    assert follower.is_behind()  # Nobody has followed anything yet.
    follower.follow()
    assert members(segment) == {early.pk}
    assert not follower.is_behind()
    late = make_customer()
    make_event(late, "Store Visited")
    make_event(make_customer(), "Product Viewed")
    assert follower.follow() == 4  # Two events, and a note for each new customer.
    assert members(segment) == {early.pk, late.pk}
    segment.refresh_from_db()
    assert segment.match_count == 2
    assert follower.follow() == 0


@pytest.mark.django_db(transaction=True)
def test_segments_are_asked_again_only_of_people_something_happened_to_that_they_ask_about(monkeypatch):
    one, other = make_customer(), make_customer()
    visited = membership.refresh(make_segment(definition=VISITED).pk)
    readers = membership.refresh(make_segment(definition=READERS).pk)
    follower.follow()
    seen: list[tuple[int, list[int]]] = []
    keep_difference = membership.keep_difference

    def seeing(pk: int, at: datetime, *, only: list[int]) -> Any:
        seen.append((pk, only))
        return keep_difference(pk, at, only=only)

    monkeypatch.setattr(membership, "keep_difference", seeing)
    make_event(one, "Store Visited")
    make_event(other, "Product Viewed")
    follower.follow()
    assert seen == [(visited.pk, [one.pk])]
    seen.clear()
    Customer.objects.filter(pk=other.pk).update(last_seen_at=now())  # Comes with its event.
    follower.follow()
    assert seen == []
    record_consent(other.pk, channel="email", state="granted", source="test", evidence="test")
    follower.follow()
    assert (readers.pk, [other.pk]) in seen
    assert members(readers) == {other.pk}


@pytest.mark.django_db(transaction=True)
def test_what_is_too_much_to_follow_is_counted_in_full(monkeypatch):
    monkeypatch.setattr(follower, "TOO_MANY", 5)
    segment = membership.refresh(make_segment().pk)
    follower.follow()
    Customer.objects.bulk_create(Customer() for _ in range(6))
    assert follower.follow() == 0
    assert not Touch.objects.exists()
    segment.refresh_from_db()
    assert now() < segment.due_at <= segment.counted_at + follower.PAUSE
    Segment.objects.update(counted_at=now() - follower.PAUSE, due_at=now() + timedelta(hours=5))
    Customer.objects.bulk_create(Customer() for _ in range(6))
    follower.follow()
    assert membership.refresh_due(limit=5) == 1
    assert len(members(segment)) == 12


@pytest.mark.django_db(transaction=True)
def test_a_follower_that_dies_leaves_everything_to_the_next(monkeypatch):
    segment = membership.refresh(make_segment(definition=VISITED).pk)
    follower.follow()
    one = make_customer()
    make_event(one, "Store Visited")

    def die(*moves: Any) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(membership, "write_moves", die)
        with pytest.raises(RuntimeError):
            follower.follow()
    assert members(segment) == set()
    follower.follow()
    assert members(segment) == {one.pk}


def _new_identifier(one: Customer) -> None:
    Identifier.objects.create(customer=one, kind="card", value="8820")


TOUCHING = {
    "an attribute": lambda one: Customer.objects.filter(pk=one.pk).update(city="Roma"),
    "a trait": lambda one: Customer.objects.filter(pk=one.pk).update(traits={"tier": "gold"}),
    "an identifier": _new_identifier,
    "an identifier taken away": lambda one: one.identifiers.all().delete(),
    "a consent": lambda one: ConsentEvent.objects.create(
        customer=one, channel="email", state="granted", source="test"
    ),
    "a list": lambda one: make_list(one),
    "a list left": lambda one: ListMember.objects.filter(customer=one).delete(),
    "a decision": lambda one: Override.objects.create(segment=make_segment(), customer=one, kind="include"),
}


@pytest.mark.parametrize("what", TOUCHING)
@pytest.mark.django_db
def test_what_is_no_event_leaves_a_note(what):
    one = make_customer(city="Milano", email="ada@example.com")
    make_list(one)
    Touch.objects.all().delete()
    TOUCHING[what](one)
    assert set(Touch.objects.values_list("customer_id", flat=True)) == {one.pk}


@pytest.mark.django_db
def test_an_identifier_that_moves_concerns_both_and_a_visit_leaves_no_note():
    one, other = make_customer(email="ada@example.com"), make_customer()
    Touch.objects.all().delete()
    one.identifiers.update(customer=other)
    assert set(Touch.objects.values_list("customer_id", flat=True)) == {one.pk, other.pk}
    Touch.objects.all().delete()
    Customer.objects.filter(pk=one.pk).update(last_seen_at=now(), updated_at=now())
    assert not Touch.objects.exists()


# --- by hand --------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_what_was_decided_by_hand_survives_a_rebuild_and_is_asked_everywhere():
    by = make_user(name="Giulia Ferri")
    inside, outside = make_customer(city="Milano"), make_customer(city="Roma")
    segment = membership.refresh(make_segment(name="Milanesi", definition=MILANO).pk)
    around = membership.refresh(make_segment(definition={"type": "segment", "segment": segment.pk}).pk)

    assert services.add_members(segment.pk, customer_ids=[outside.pk], by=by).changed == 1
    assert services.remove_members(segment.pk, customer_ids=[inside.pk], by=by).changed == 1

    assert members(segment) == {outside.pk}  # At once.
    segment.refresh_from_db()
    assert segment.match_count == 1
    for one in (segment, around):
        membership.refresh(one.pk)
        assert members(one) == {outside.pk}
    assert run(audience_sql([segment.pk], [], now())) == [outside.pk]
    said = questions.explain_many(in_segment(segment.pk), [inside.pk, outside.pk])
    assert said[outside.pk].holds
    assert said[outside.pk].note.startswith("Added by hand by Giulia Ferri on ")
    assert not said[inside.pk].holds
    assert said[inside.pk].note.startswith("Taken out by hand by Giulia Ferri on ")
    assert said[inside.pk].parts[0].holds  # By the rules they would be in.

    assert services.leave_to_rules(segment.pk, customer_ids=[inside.pk, outside.pk]) == 2
    assert members(segment) == {inside.pk}


@pytest.mark.django_db
def test_the_last_decision_by_hand_is_the_one_that_counts():
    one = make_customer()
    segment = membership.refresh(make_segment(definition=MILANO).pk)
    assert services.add_members(segment.pk, customer_ids=[one.pk], by=None).changed == 1
    again = services.add_members(segment.pk, customer_ids=[one.pk], by=None)
    assert (again.changed, again.already) == (0, 1)
    assert services.remove_members(segment.pk, customer_ids=[one.pk], by=None).changed == 1
    assert services.remove_members(segment.pk, customer_ids=[one.pk], by=None).changed == 0
    assert Override.objects.get().kind == "exclude"
    assert members(segment) == set()
    copy = services.duplicate_segment(segment.pk, by=None)
    assert copy.overrides.get().kind == "exclude"


@pytest.mark.django_db
def test_somebody_erased_is_in_no_segment_whoever_put_them_there():
    one = make_customer()
    segment = membership.refresh(make_segment(definition=MILANO).pk)
    services.add_members(segment.pk, customer_ids=[one.pk], by=None)
    Customer.objects.filter(pk=one.pk).update(status="erased")
    membership.refresh(segment.pk)
    assert members(segment) == set()


# --- members instead of rules ---------------------------------------------------------------------


@pytest.mark.django_db
def test_members_stand_for_rules_only_while_they_are_as_good_and_never_for_an_audience():
    one = make_customer(city="Milano")
    segment = membership.refresh(make_segment(definition=MILANO).pk)
    around = in_segment(segment.pk)

    def is_read_from_members(at: datetime, **more: Any) -> bool:
        return "segments_membership" in compile_tree(around, at, **more).sql

    assert is_read_from_members(now(), use_kept=True)
    assert not is_read_from_members(now())
    assert not is_read_from_members(segment.counted_at - timedelta(seconds=1), use_kept=True)
    assert not is_read_from_members(segment.due_at, use_kept=True)
    assert "segments_membership" not in audience_sql([segment.pk], [], now()).sql
    services.update_segment(segment.pk, name="Other", definition=EVERYBODY, by=None)
    assert not is_read_from_members(now(), use_kept=True)
    assert one.pk in run(compile_tree(around, now(), use_kept=True))


@pytest.mark.django_db
def test_the_audience_is_right_before_anybody_followed_what_happened():
    one, other = make_customer(city="Milano"), make_customer(city="Milano")
    segment = membership.refresh(make_segment(definition=MILANO).pk)
    around = membership.refresh(make_segment(definition={"type": "segment", "segment": segment.pk}).pk)
    Customer.objects.filter(pk=one.pk).update(city="Roma")
    assert members(around) == {one.pk, other.pk}
    assert run(audience_sql([around.pk], [], now())) == [other.pk]


@pytest.mark.django_db
def test_segments_inside_others_are_counted_first():
    make_customer(city="Milano")
    names = iter("dcba")
    inner = make_segment(name=next(names), definition=MILANO)
    chain = [inner]
    for name in names:
        chain.append(make_segment(name=name, definition={"type": "segment", "segment": chain[-1].pk}))
    due = [one.pk for one in reversed(chain)]
    assert membership._in_order(due) == [one.pk for one in chain]
    assert membership.refresh_due(limit=10) == 4
    assert {one.match_count for one in Segment.objects.all()} == {1}


@pytest.mark.django_db
def test_a_count_is_due_sooner_where_time_moves_people_and_never_too_often(settings, monkeypatch):
    still = membership.refresh(make_segment(definition=MILANO).pk)
    window = {"type": "last", "days": 30}
    moving = make_segment(definition=VISITED | {"window": window})
    around = make_segment(definition={"type": "segment", "segment": moving.pk})
    assert still.due_at - still.counted_at == membership.STILL
    for one in (moving, around):
        counted = membership.refresh(one.pk)
        assert counted.due_at - counted.counted_at == timedelta(minutes=60)
    assert membership._pause(moving, 60_000) == timedelta(minutes=200)
