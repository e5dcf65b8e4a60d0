"""The compiler against a plain Python evaluator, on random trees over a random small population."""

import random
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from customers.addresses import address_hash
from customers.contact import count_reachable
from customers.models import ConsentEvent, Customer, Event, Identifier, Suppression
from customers.tests.factories import make_customer, make_event
from inventory.models import Store
from inventory.tests.factories import make_store
from orders.models import Order
from orders.tests.factories import make_order
from segments.compiler import Compiled, audience_sql, compile_tree
from segments.models import ListMember, Override, Segment
from segments.tests.factories import EVERYBODY, make_list, make_segment
from segments.tests.naive import World
from segments.tree import Not, TreeError, parse_tree

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 10, 11, 30, tzinfo=timezone.get_default_timezone())
MOMENTS = [NOW - timedelta(days=400), NOW - timedelta(days=40), NOW - timedelta(days=9), NOW]
WORDS = ["Ada", "ada", "Bo", "100%", "a_b", "back\\slash", "È", "'; DROP TABLE x; --"]
CITIES = ["Milano", "milano", "Roma", ""]
NAMES = ["Product Viewed", "Cart Updated", "Store Visited"]
CODES = ["brera", "torino"]


def run(compiled: Compiled) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(compiled.sql, compiled.params)
        return [row[0] for row in cursor.fetchall()]


def matching(definition: dict[str, Any], as_of: datetime = NOW) -> set[int]:
    found = run(compile_tree(parse_tree(definition), as_of))
    assert len(found) == len(set(found)), "somebody is in the segment twice"
    return set(found)


# --- a small world --------------------------------------------------------------------------------


def some_time(dice: random.Random) -> datetime:
    """Mostly recent, sometimes a year ago, sometimes after NOW; often exactly on an edge of a window."""
    days = dice.choice([0, 1, 2, 3, 7, 10, 30, 39, 90, 365, 401, -1, -5])
    return NOW - timedelta(days=days, seconds=dice.choice([0, 0, 1, 3600, 40_000]))


def some_properties(dice: random.Random) -> dict[str, Any]:
    values = [10, 9.5, "10", "9.50", "ten", "", None, True, "1e3", " 10"]
    return {key: dice.choice(values) for key in ("price", "tier") if dice.random() < 0.6}


def populate(seed: int) -> None:
    dice = random.Random(seed)
    stores = [make_store(code=code) for code in CODES]
    births = [None, date(1990, 3, 10), date(2000, 2, 29), date(1985, 3, 11), date(2008, 3, 10)]
    people = Customer.objects.bulk_create(
        Customer(
            status=dice.choice(["known", "known", "known", "anonymous", "merged"]),
            first_name=dice.choice(WORDS),
            city=dice.choice(CITIES),
            country=dice.choice(["IT", "FR", ""]),
            language=dice.choice(["it", "en", ""]),
            birth_date=dice.choice(births),
            home_store=dice.choice([*stores, None]),
            traits=some_properties(dice),
            created_at=some_time(dice) - timedelta(days=300),
            last_seen_at=dice.choice([None, some_time(dice)]),
        )
        for _ in range(30)
    )
    for number, one in enumerate(people):
        fill(one, number, dice, stores)
    lists = [make_list(name="A list"), make_list(name="B list")]
    ListMember.objects.bulk_create(
        ListMember(segment=dice.choice(lists), customer=one, added_at=some_time(dice))
        for one in dice.sample(people, 15)
    )


def fill(one: Customer, number: int, dice: random.Random, stores: list[Store]) -> None:
    Identifier.objects.bulk_create(
        Identifier(
            customer=one,
            kind=kind,
            value=f"{kind}{number}.{n}",
            created_at=some_time(dice),
            verified_at=dice.choice([None, NOW - timedelta(days=n)]),
        )
        for kind in ("email", "phone", "card")
        for n in range(dice.choice([0, 1, 1, 2]))
    )
    for kind, channel in (("email", "email"), ("phone", "sms")):
        if dice.random() < 0.2:
            Suppression.objects.create(
                channel=channel,
                address_hash=address_hash(f"{kind}{number}.0"),
                reason="manual",
                created_at=some_time(dice),
            )
    for _ in range(dice.randrange(4)):
        ConsentEvent.objects.create(
            customer=one,
            channel=dice.choice(["email", "sms"]),
            state=dice.choice(["granted", "granted", "denied", "revoked"]),
            source="test",
            effective_at=some_time(dice),
        )
    Event.objects.bulk_create(
        Event(
            customer=one,
            name=dice.choice(NAMES),
            channel=dice.choice(["web", "store", ""]),
            store=dice.choice([*stores, None]),
            source="random",
            key=f"{number}.{n}",
            occurred_at=some_time(dice),
            properties=some_properties(dice),
        )
        for n in range(dice.randrange(7))
    )
    Order.objects.bulk_create(
        Order(
            customer=one,
            source="random",
            number=f"{number}.{n}",
            status=dice.choice(["completed", "completed", "completed", "cancelled"]),
            placed_at=some_time(dice),
            total_minor=dice.choice([0, 1000, 2500, 5000]),
            quantity=dice.randrange(4),
            currency=dice.choice(["EUR", "EUR", "GBP"]),
            channel=dice.choice(["web", "store"]),
            store=dice.choice([*stores, None]),
        )
        for n in range(dice.randrange(5))
    )


def decide_by_hand(segment: Segment, dice: random.Random) -> None:
    """Some people in, some out, some of it only later."""
    people = list(Customer.objects.order_by("pk"))
    Override.objects.bulk_create(
        Override(segment=segment, customer=one, kind=dice.choice(["include", "exclude"]), at=some_time(dice))
        for one in dice.sample(people, 8)
    )


# --- random trees ---------------------------------------------------------------------------------


def node(type_: str, **fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    """A dictionary with these fields, those drawn as None left out."""
    return st.fixed_dictionaries({name: _as_strategy(value) for name, value in fields.items()}).map(
        lambda drawn: {"type": type_} | {k: v for k, v in drawn.items() if v is not None}
    )


def _as_strategy(value: Any) -> st.SearchStrategy[Any]:
    return value if isinstance(value, st.SearchStrategy) else st.just(value)


def pick(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


days = pick(1, 2, 3, 7, 10, 30, 39, 90, 365)
day = pick("2024-11-01", "2025-03-10", "2026-02-01", "2026-03-09", "2026-03-10")
value = pick(*WORDS, "Milano", "10", "9.5", "true", "%", "it", "IT")
values = st.lists(value, min_size=1, max_size=3)
number = pick(0, 9.5, 10, "10.000001", 1000)
one_value = pick("is", "is_not", "contains", "not_contains", "starts_with")
window = st.one_of(
    st.just({"type": "ever"}),
    node("last", days=days),
    node("between", since=day),
    node("between", until=day),
    node("between", since=pick("2025-03-10", "2026-02-01"), until=pick("2026-03-09", "2026-03-10")),
)
comparison = st.one_of(
    st.fixed_dictionaries({"key": pick("price", "tier"), "op": one_value, "value": value}),
    st.fixed_dictionaries(
        {"key": pick("price", "tier"), "op": pick("one_of", "not_one_of"), "values": values}
    ),
    st.fixed_dictionaries({"key": pick("price", "tier"), "op": pick("set", "not_set")}),
    st.fixed_dictionaries(
        {
            "key": pick("price", "tier"),
            "op": pick("equals", "more_than", "less_than", "at_least", "at_most"),
            "number": number,
        }
    ),
)
where = st.lists(comparison, max_size=2)
channel = pick(None, "web", "store")
store = pick(None, *CODES, "nowhere")
time_attribute = pick("created_at", "last_seen_at")
conditions = st.one_of(
    node("attribute", name=pick("first_name", "city"), op=one_value, value=value),
    node("attribute", name=pick("first_name", "city"), op=pick("one_of", "not_one_of"), values=values),
    node("attribute", name=pick("language", "country"), op=pick("is", "is_not"), value=pick("it", "IT")),
    node("attribute", name=pick("city", "country", "home_store", "birth_date"), op=pick("set", "not_set")),
    node("attribute", name="home_store", op=pick("is", "is_not"), value=pick(*CODES)),
    node("attribute", name="birth_date", op=pick("before", "after"), date=pick("1990-03-10", "2000-02-29")),
    node("attribute", name="birth_date", op="birthday_within", days=pick(0, 1, 7, 365)),
    node("attribute", name="birth_date", op=pick("age_at_least", "age_at_most"), years=pick(18, 26, 36)),
    node("attribute", name=time_attribute, op=pick("before", "after"), date=day),
    node("attribute", name=time_attribute, op=pick("in_last", "older_than"), days=days),
    node("attribute", name="last_seen_at", op=pick("set", "not_set")),
    comparison.map(lambda one: {"type": "trait"} | one),
    node("identifier", kind=pick("email", "phone", "card", "user_id"), has=st.booleans()),
    node(
        "consent",
        channel=pick("email", "sms"),
        state=pick("granted", "denied", "revoked", "unknown"),
        op=pick("is", "is_not"),
    ),
    node("reachable", channel=pick("email", "sms"), can=st.booleans()),
    node("event", name=pick(*NAMES), op=pick("did", "did_not"), window=window, where=where, channel=channel),
    node(
        "event",
        name=pick(*NAMES),
        op=pick("at_least", "at_most", "exactly"),
        times=pick(0, 1, 2),
        window=window,
        store=store,
    ),
    node(
        "sequence",
        first=pick(*NAMES),
        then=pick(*NAMES),
        within=days,
        did=st.booleans(),
        window=window,
        first_where=where,
        then_where=where,
    ),
    node(
        "orders",
        measure=pick("count", "quantity"),
        op=pick("at_least", "at_most", "exactly"),
        value=pick(0, 1, 2, 3),
        window=window,
        channel=channel,
        store=store,
    ),
    node(
        "orders",
        measure=pick("revenue", "average"),
        op=pick("at_least", "at_most", "exactly"),
        value=pick(0, 1000, 2500, 5000),
        currency=pick("EUR", "GBP"),
        window=window,
    ),
    node("orders", measure=pick("first", "last"), op=pick("before", "after"), date=day, window=window),
    node("orders", measure=pick("first", "last"), op=pick("in_last", "older_than"), days=days, store=store),
    st.builds(
        lambda name, member: {"type": "segment", "segment": name, "member": member},
        pick("A list", "B list", "Nested"),
        st.booleans(),
    ),
)
trees = st.recursive(
    conditions,
    lambda inner: st.one_of(
        node("all", nodes=st.lists(inner, max_size=3)),
        node("any", nodes=st.lists(inner, min_size=1, max_size=3)),
        node("not", node=inner),
    ),
    max_leaves=6,
)


def with_ids(tree: dict[str, Any], ids: dict[str, int]) -> dict[str, Any]:
    """The tree with the names of segments replaced by their ids."""
    if tree["type"] in ("all", "any"):
        return tree | {"nodes": [with_ids(one, ids) for one in tree["nodes"]]}
    if tree["type"] == "not":
        return tree | {"node": with_ids(tree["node"], ids)}
    return tree | {"segment": ids[tree["segment"]]} if tree["type"] == "segment" else tree


def depth(tree: dict[str, Any]) -> int:
    inner = tree.get("nodes", []) + ([tree["node"]] if "node" in tree else [])
    return 1 + max((depth(one) for one in inner), default=0)


@pytest.fixture(params=[1, 2, 3])
def world(request):
    populate(request.param)
    nested = make_segment(
        name="Nested",
        definition={
            "type": "any",
            "nodes": [
                {"type": "segment", "segment": Segment.objects.get(name="A list").pk},
                {"type": "orders", "measure": "count", "op": "exactly", "value": 0},
            ],
        },
    )
    decide_by_hand(nested, random.Random(request.param))
    return World.load()


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(drawn=trees.filter(lambda tree: depth(tree) <= 6), as_of=st.sampled_from(MOMENTS))
def test_the_compiled_statement_finds_whom_the_language_means(world, drawn, as_of):
    definition = with_ids(drawn, {one.name: pk for pk, one in world.segments.items()})
    tree = parse_tree(definition)

    found = set(run(compile_tree(tree, as_of)))

    assert found == world.matching(tree, as_of)
    everybody = matching(EVERYBODY, as_of)
    complement = run(compile_tree(Not(type="not", node=tree), as_of))
    assert len(complement) == len(set(complement))
    assert set(complement) == everybody - found


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(drawn=trees.filter(lambda tree: depth(tree) <= 6))
def test_what_happens_later_changes_nothing(world, drawn):
    definition = with_ids(drawn, {one.name: pk for pk, one in world.segments.items()})
    before = NOW - timedelta(days=9)
    first = matching(definition, before)

    with transaction.atomic():
        for one in Customer.objects.filter(pk__in=list(world.people)[:10]):
            later = NOW - timedelta(days=8)
            for name in NAMES:
                make_event(one, name, at=later, properties={"price": 10, "tier": "Ada"})
            make_order(one, at=later, total_minor=99_000)
            Identifier.objects.create(customer=one, kind="email", value=f"late{one.pk}", created_at=later)
            for channel in ("email", "sms"):
                ConsentEvent.objects.create(
                    customer=one, channel=channel, state="revoked", source="test", effective_at=later
                )
        for one in Segment.objects.filter(kind="list"):
            missing = Customer.objects.exclude(lists=one)
            ListMember.objects.bulk_create(
                ListMember(segment=one, customer=person, added_at=NOW) for person in missing
            )
        second = matching(definition, before)
        transaction.set_rollback(True)

    assert second == first


# --- how it is asked --------------------------------------------------------------------------------


def did(name: str) -> dict[str, Any]:
    return {"type": "event", "name": name}


def test_sets_of_which_one_suffices_are_joined_as_one():
    nested = {"type": "any", "nodes": [did("B"), {"type": "any", "nodes": [did("C"), did("D")]}]}
    either = {"type": "all", "nodes": [did("A"), nested]}
    sql = compile_tree(parse_tree(either), NOW).sql
    assert sql.count("LEFT JOIN") == 2
    assert sql.count(" UNION ") == 2
    mixed = {"type": "any", "nodes": [did("A"), {"type": "not", "node": did("B")}]}
    assert " UNION " not in compile_tree(parse_tree(mixed), NOW).sql


def test_of_more_conditions_than_postgresql_orders_the_most_selective_comes_first():
    people = Customer.objects.bulk_create(Customer() for _ in range(300))
    names = [f"Common {n}" for n in range(8)]
    events = [(one, name) for name in names for one in people] + [(people[0], "Rare")]
    Event.objects.bulk_create(
        Event(customer=one, name=name, source="test", key=str(n), occurred_at=NOW - timedelta(days=1))
        for n, (one, name) in enumerate(events)
    )
    Customer.objects.update(created_at=NOW - timedelta(days=9))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE customers_event")
    refused = {"type": "not", "node": did("Absent")}
    tree = parse_tree({"type": "all", "nodes": [refused, *map(did, names), did("Rare")]})

    compiled = compile_tree(tree, NOW)

    joins = compiled.sql.split("LEFT JOIN")[1:]
    asked = {f"%({key})s": value for key, value in compiled.params.items() if isinstance(value, str)}
    order = [next(name for key, name in asked.items() if key in one) for one in joins]
    assert order[0] == "Rare"
    assert order[-1] == "Absent"  # Whom it leaves out is known best when few are left.
    assert run(compiled) == [people[0].pk]


# --- single rules ---------------------------------------------------------------------------------


def test_reachable_is_the_rule_messages_follow(world):
    for channel in ("email", "sms"):
        at = timezone.now() + timedelta(days=1)  # Everything written so far counts, as it does for a message.
        reachable = {"type": "reachable", "channel": channel}
        counted = count_reachable(
            "(SELECT id FROM customers_customer WHERE status IN ('anonymous', 'known'))", {}, [channel]
        )
        assert len(matching(reachable, at)) == counted[channel] > 0


def test_nobody_who_was_merged_or_erased_is_in_any_segment():
    make_customer(status="merged")
    make_customer(status="erased")
    known = make_customer()
    assert matching(EVERYBODY, timezone.now()) == {known.pk}


def test_text_of_users_never_becomes_sql():
    one = make_customer(first_name="'; DROP TABLE customers_customer; --")
    make_customer(first_name="100%s")
    tree = {"type": "attribute", "name": "first_name", "op": "contains", "value": "'; DROP TABLE"}
    compiled = compile_tree(parse_tree(tree), timezone.now())
    assert "DROP" not in compiled.sql
    assert run(compiled) == [one.pk]


def test_a_trait_that_is_no_number_never_compares():
    for raw in ("1e999999", "NaN", "", "12 apples", [1], {"a": 1}, None, True):
        make_customer(traits={"spent": raw})
    rich = make_customer(traits={"spent": "120.50"})
    now = timezone.now()
    for op in ("more_than", "less_than", "equals"):
        found = matching({"type": "trait", "key": "spent", "op": op, "number": "120.5"}, now)
        assert found == ({rich.pk} if op == "equals" else set())


def test_an_audience_is_whoever_is_included_and_not_excluded():
    now = timezone.now()
    both, first, second, neither = (make_customer() for _ in range(4))
    a, b = make_list(both, first), make_list(both, second)
    later = timezone.now()
    assert set(run(audience_sql([a.pk, b.pk], [], later))) == {both.pk, first.pk, second.pk}
    assert set(run(audience_sql([a.pk], [b.pk], later))) == {first.pk}
    assert run(audience_sql([], [], later)) == []
    assert run(audience_sql([a.pk], [a.pk], later)) == []
    assert neither.pk not in run(audience_sql([a.pk, b.pk], [], later))
    assert run(audience_sql([a.pk], [], now)) == []  # On the list only since.


def test_two_audiences_share_one_statement():
    one = make_customer()
    a = make_list(one)
    now = timezone.now()
    left, right = audience_sql([a.pk], [], now, prefix="l"), audience_sql([a.pk], [], now, prefix="r")
    shared = Compiled(f"{left.sql} INTERSECT {right.sql}", left.params | right.params)
    assert not set(left.params) & set(right.params)
    assert run(shared) == [one.pk]


def test_a_segment_inside_itself_is_refused_with_the_loop_named():
    a = make_segment(name="Loyal")
    b = make_segment(name="Recent", definition={"type": "segment", "segment": a.pk})
    Segment.objects.filter(pk=a.pk).update(definition={"type": "segment", "segment": b.pk})
    with pytest.raises(TreeError, match="“Loyal” → “Recent” → “Loyal”"):
        audience_sql([a.pk], [], timezone.now())


def test_a_segment_that_is_gone_is_said_so():
    with pytest.raises(TreeError, match="no longer exists"):
        audience_sql([4711], [], timezone.now())


def test_segments_inside_segments_are_bounded():
    def many(offset: int) -> dict[str, Any]:
        events = [{"type": "event", "name": f"Event {offset + n}"} for n in range(60)]
        return {"type": "all", "nodes": events}

    segments = [make_segment(definition=many(100 * n)) for n in range(3)]
    with pytest.raises(TreeError, match="more than can be asked at once"):
        audience_sql([one.pk for one in segments], [], timezone.now())
