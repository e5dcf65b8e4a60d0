"""The form of the builder and the tree it stands for."""

import pytest
from django.http import QueryDict

from segments.builder import Builder
from segments.choices import Choices
from segments.models import Segment
from segments.tests.factories import make_segment
from segments.tree import TreeError, dump_tree, parse_tree
from segments.words import describe

pytestmark = pytest.mark.django_db

CONDITIONS = [
    ({"type": "attribute", "name": "city", "op": "is", "value": "Milano"}, "City is Milano"),
    (
        {"type": "attribute", "name": "country", "op": "one_of", "values": ["FR", "IT"]},
        "Country is one of France, Italy",
    ),
    (
        {"type": "attribute", "name": "first_name", "op": "one_of", "values": ["Ada", "Bo"]},
        "First name is one of Ada, Bo",
    ),
    ({"type": "attribute", "name": "home_store", "op": "not_set"}, "Home store is not known"),
    (
        {"type": "attribute", "name": "created_at", "op": "in_last", "days": 30},
        "Customer since in the last 30 days",
    ),
    (
        {"type": "attribute", "name": "last_seen_at", "op": "older_than", "days": 1},
        "Last seen more than 1 day ago",
    ),
    (
        {"type": "attribute", "name": "birth_date", "op": "birthday_within", "days": 7},
        "Birthday within the next 7 days",
    ),
    ({"type": "attribute", "name": "birth_date", "op": "age_at_least", "years": 18}, "At least 18 years old"),
    ({"type": "trait", "key": "tier", "op": "is", "value": "gold"}, "“tier” is gold"),
    ({"type": "trait", "key": "points", "op": "more_than", "number": "10.5"}, "“points” is more than 10.5"),
    ({"type": "identifier", "kind": "card", "has": False}, "Has no identifier of kind Card"),
    (
        {"type": "consent", "channel": "sms", "state": "unknown", "op": "is_not"},
        "Consent to SMS is not “Not known”",
    ),
    ({"type": "reachable", "channel": "email"}, "Can be reached by Email"),
    (
        {
            "type": "event",
            "name": "Product Viewed",
            "op": "at_least",
            "times": 2,
            "window": {"type": "between", "since": "2026-01-31"},
            "where": [
                {"key": "price", "op": "at_least", "number": "10"},
                {"key": "category", "op": "one_of", "values": ["a", "b"]},
            ],
            "channel": "web",
            "store": "brera",
        },
        "Did “Product Viewed” at least 2 times since 31 Jan 2026 "
        "where price is at least 10 and category is one of a, b by channel Online in brera",
    ),
    (
        {"type": "sequence", "first": "Cart Updated", "then": "Order Completed", "within": 3, "did": False},
        "Did “Cart Updated” and then did not do “Order Completed” within 3 days",
    ),
    (
        {
            "type": "orders",
            "measure": "revenue",
            "op": "at_least",
            "value": 12050,
            "currency": "EUR",
            "window": {"type": "last", "days": 90},
        },
        "Spent at least €120.50 in the last 90 days",
    ),
    (
        {"type": "orders", "measure": "average", "op": "at_most", "value": 5000, "currency": "JPY"},
        "Average order at most ¥5,000",
    ),
    ({"type": "orders", "measure": "count", "op": "exactly", "value": 0}, "Bought nothing"),
    (
        {"type": "orders", "measure": "quantity", "op": "at_most", "value": 1, "channel": "store"},
        "Bought at most 1 piece by channel Store",
    ),
    (
        {"type": "orders", "measure": "last", "op": "older_than", "days": 90},
        "Last order more than 90 days ago",
    ),
]


@pytest.fixture
def choices():
    return Choices(segments=Segment.objects.all())


def sent(builder: Builder, choices: Choices) -> QueryDict:
    """What a browser sends for the form as drawn."""
    builder.draw(choices)
    post = QueryDict(mutable=True)
    for side, groups in builder.sides:
        for group in groups:
            post.appendlist("layout", side)
            for row in group.rows:
                post.appendlist("layout", row.key)
                post[f"{row.key}-was"] = row.what
                post[f"{row.key}-what"] = row.what
                if row.filter_count:
                    post[f"{row.key}-filters"] = str(row.filter_count)
                for control in row.sentence:
                    if control.type == "many":
                        post.setlist(f"{row.key}-{control.name}", control.value)
                    elif control.name:
                        post[f"{row.key}-{control.name}"] = str(control.value)
    return post


@pytest.mark.parametrize(("condition", "sentence"), CONDITIONS)
def test_every_condition_survives_the_form_and_has_a_sentence(condition, sentence, choices):
    node = parse_tree(condition)
    builder = Builder.from_definition({"type": "all", "nodes": [condition]})
    assert builder.definition is None
    back = Builder.from_post(sent(builder, choices)).tree()
    assert dump_tree(back.nodes[0]) == dump_tree(node)
    assert describe(node) == sentence


def test_groups_and_exclusions_survive_the_form(choices):
    a, b, c, d = (one for one, _sentence in CONDITIONS[:4])
    vip = {"type": "segment", "segment": make_segment().pk, "member": False}
    definition = {
        "type": "all",
        "nodes": [
            {"type": "any", "nodes": [{"type": "all", "nodes": [a, b]}, vip]},
            {"type": "not", "node": {"type": "any", "nodes": [{"type": "all", "nodes": [c, d]}, b]}},
        ],
    }
    builder = Builder.from_definition(definition)
    assert [len(group.rows) for group in builder.include] == [2, 1]
    assert [len(group.rows) for group in builder.exclude] == [2, 1]
    assert Builder.from_post(sent(builder, choices)).kept() == definition


@pytest.mark.parametrize(
    "definition",
    [
        {"type": "not", "node": {"type": "not", "node": CONDITIONS[0][0]}},
        {"type": "all", "nodes": [{"type": "any", "nodes": [CONDITIONS[0][0]]}, CONDITIONS[1][0]]},
        {
            "type": "sequence",
            "first": "A",
            "then": "B",
            "within": 1,
            "first_where": [{"key": "x", "op": "set"}],
        },
    ],
)
def test_a_deeper_tree_is_edited_as_it_is_kept(definition):
    builder = Builder.from_definition(definition)
    assert builder.definition is not None
    post = QueryDict(mutable=True)
    post["definition"] = builder.definition
    assert Builder.from_post(post).kept() == definition
    post["definition"] = "{"
    with pytest.raises(TreeError, match="not JSON"):
        Builder.from_post(post).tree()
    post["definition"] = "[" * 100_000
    with pytest.raises(TreeError):
        Builder.from_post(post).tree()


def form(**fields: str) -> QueryDict:
    post = QueryDict(mutable=True)
    post.setlist("layout", ["include", "r1", "r2"])
    for name, value in fields.items():
        post[name.replace("_", "-", 1)] = value
    for key in ("r1", "r2"):
        post[f"{key}-was"] = post.get(f"{key}-what", "")
    return post


def test_what_is_wrong_is_said_at_its_row():
    builder = Builder.from_post(
        form(r1_what="attribute.city", r1_value="Milano", r2_what="event", r2_op="did")
    )
    with pytest.raises(TreeError):
        builder.tree()
    first, second = builder.rows
    assert not first.error
    assert "is missing" in second.error
    assert not builder.problems


def test_a_changed_subject_forgets_what_was_written_for_the_other():
    post = form(r1_what="event", r1_name="Visit")
    post["r1-was"] = "orders.count"
    assert Builder.from_post(post).rows[0].data == {"what": "event"}


def test_buttons_add_copy_and_remove():
    builder = Builder.from_post(form(r1_what="trait", r1_key="a", r2_what="segment"))
    builder.apply("copy.r1")
    assert [row.what for row in builder.rows] == ["trait", "trait", "segment"]
    assert builder.rows[1].get("key") == "a"
    assert builder.focus == builder.rows[1].key
    builder.apply("remove.r1")
    builder.apply("add.include.0")
    assert [row.what for row in builder.rows] == ["trait", "segment", ""]
    builder.apply("copy-group.include.0")
    builder.apply("add-group.exclude")
    assert [len(group.rows) for group in builder.include] == [3, 3]
    assert [len(group.rows) for group in builder.exclude] == [1]
    assert len({row.key for row in builder.rows}) == 7
    builder.apply("remove-group.include.0")
    builder.apply("remove-group.include.0")
    builder.apply("remove-group.exclude.0")
    assert [row.what for row in builder.rows] == [""]  # Never an empty page.


@pytest.mark.parametrize(
    "command",
    [
        "",
        "x",
        "add",
        "add.include.99",
        "remove.r99",
        "copy-group.include.²",
        "add.r1.x",
        "refresh",
        "filter.r1",
    ],
)
def test_a_button_of_something_gone_changes_nothing(command):
    builder = Builder.from_post(form(r1_what="trait"))
    builder.apply(command)
    assert [row.key for row in builder.rows] == ["r1", "r2"]


def test_a_forged_form_is_read_without_an_error(choices):
    post = QueryDict(mutable=True)
    post.setlist("layout", ["r9", "include", "r1", "r1", "r²", "r" + "9" * 5000, "what", "exclude"])
    post["r1-what"] = post["r1-was"] = "attribute.password"
    post["r1-filters"] = "²"
    builder = Builder.from_post(post)
    builder.draw(choices)
    with pytest.raises(TreeError):
        builder.tree()
    for amount in ("1e999999", "NaN", "-5", "1.234"):
        post["r1-what"] = post["r1-was"] = "orders.revenue"
        post["r1-amount"], post["r1-currency"] = amount, "EUR"
        with pytest.raises(TreeError):
            Builder.from_post(post).tree()


def test_the_number_of_conditions_is_limited_on_the_form_too():
    builder = Builder.blank()
    for _ in range(100):
        builder.apply("add.include.0")
    assert len(builder.rows) == 60
    assert builder.is_full
