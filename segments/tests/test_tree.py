import json

import pytest

from core.errors import DomainError
from segments.tree import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    TreeError,
    conditions_of,
    dump_tree,
    parse_tree,
    segments_in,
)

CITY = {"type": "attribute", "name": "city", "op": "is", "value": "Milano"}


def refusal(definition) -> TreeError:
    with pytest.raises(TreeError) as caught:
        parse_tree(definition)
    return caught.value


def test_a_tree_survives_being_kept():
    definition = {
        "type": "all",
        "nodes": [
            CITY,
            {"type": "not", "node": {"type": "segment", "segment": 7}},
            {"type": "event", "name": "Product Viewed", "window": {"type": "last", "days": 30}},
            {"type": "trait", "key": "points", "op": "more_than", "number": "10.5"},
        ],
    }
    kept = json.loads(json.dumps(dump_tree(parse_tree(definition))))
    assert kept == definition
    assert parse_tree(kept) == parse_tree(definition)
    assert segments_in(parse_tree(kept)) == {7}
    assert len(list(conditions_of(parse_tree(kept)))) == 4


def test_a_refusal_says_what_and_where():
    broken = {"type": "event", "name": "Visit", "window": {"type": "last", "days": 0}}
    error = refusal({"type": "any", "nodes": [CITY, {"type": "all", "nodes": [CITY, broken]}]})
    assert isinstance(error, DomainError)
    assert str(error) == "Condition 2.2, days: must be at least 1."
    assert error.problems[0].path == ("nodes", 1, "nodes", 1, "window", "days")


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ([], "A segment is a tree of conditions."),
        (None, "A segment is a tree of conditions."),
        ({"type": "magic"}, "“magic” is not one of the choices."),
        ({"nodes": []}, "The kind of condition is missing."),
        ({"type": "any", "nodes": []}, "This group has no conditions."),
        (CITY | {"op": "before"}, "This comparison does not fit what is compared."),
        (CITY | {"value": "  "}, "Value: is missing."),
        (CITY | {"value": "x" * 201}, "Value: has at most 200 characters."),
        (CITY | {"value": "a\x00b"}, "Value: contains characters that cannot be searched for."),
        (CITY | {"value": "\ud800"}, "Value: "),
        (CITY | {"days": 3}, "Has a “days” its comparison does not use."),
        (CITY | {"extra": 1}, "Extra: is not part of this condition."),
        ({"type": "trait", "key": "a", "op": "equals", "number": "NaN"}, "Number: must be a number"),
        ({"type": "trait", "key": "a", "op": "equals", "number": "1e40"}, "Number: must be a number"),
        (
            {"type": "attribute", "name": "city", "op": "one_of", "values": ["a"] * 1001},
            "Values: has at most 1000 values.",
        ),
        (
            {"type": "orders", "measure": "revenue", "op": "at_least", "value": 1},
            "An amount, and only an amount, needs a currency.",
        ),
        ({"type": "orders", "measure": "last", "op": "at_least", "value": 1}, "does not fit"),
        (
            {"type": "orders", "measure": "count", "op": "at_least", "value": "two"},
            "Value: must be a whole number.",
        ),
        (
            {"type": "attribute", "name": "created_at", "op": "before", "date": "31/01/2026"},
            "Day: must be a day like 2026-01-31.",
        ),
        (
            {"type": "event", "name": "a", "window": {"type": "between"}},
            "Window: needs a first or a last day.",
        ),
        (
            {
                "type": "event",
                "name": "a",
                "window": {"type": "between", "since": "2026-02-01", "until": "2026-01-01"},
            },
            "first day is after the last.",
        ),
        (
            {"type": "attribute", "name": "birth_date", "op": "birthday_within", "days": 400},
            "at most 365 days away.",
        ),
    ],
)
def test_what_is_not_well_formed_is_refused_in_plain_words(definition, message):
    assert message in str(refusal(definition))


def test_depth_is_limited():
    tree = CITY
    for _ in range(MAX_DEPTH - 1):
        tree = {"type": "not", "node": tree}
    parse_tree(tree)
    assert "at most 6 deep" in str(refusal({"type": "not", "node": tree}))


def test_a_tree_of_any_depth_is_refused_without_being_walked():
    tree = CITY
    for _ in range(100_000):
        tree = {"type": "not", "node": tree}
    assert "at most 6 deep" in str(refusal(tree))


def test_the_number_of_conditions_is_limited():
    parse_tree({"type": "all", "nodes": [CITY] * MAX_CONDITIONS})
    assert "at most 60 conditions" in str(refusal({"type": "all", "nodes": [CITY] * (MAX_CONDITIONS + 1)}))
    spread = [{"type": "all", "nodes": [CITY] * 31}] * 2
    assert "at most 60 conditions" in str(refusal({"type": "any", "nodes": spread}))
