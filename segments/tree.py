"""The language segments are written in: a tree of conditions, kept as JSON in `Segment.definition`.

A tree is read with `parse_tree`, which refuses what is not well formed, too deep, too long or not
storable, saying in plain words what is wrong and where. The models are the only description of the
JSON: `{"type": "all", "nodes": [{"type": "attribute", "name": "city", "op": "is", "value": "Milano"}]}`.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from core.errors import DomainError

MAX_DEPTH = 6
MAX_CONDITIONS = 60
MAX_VALUES = 1000
MAX_DAYS = 3650

Path = tuple[str | int, ...]

FIELDS: dict[str, Promise] = {
    "value": gettext_lazy("value"),
    "values": gettext_lazy("values"),
    "number": gettext_lazy("number"),
    "days": gettext_lazy("days"),
    "within": gettext_lazy("days"),
    "years": gettext_lazy("years"),
    "times": gettext_lazy("times"),
    "date": gettext_lazy("day"),
    "since": gettext_lazy("first day"),
    "until": gettext_lazy("last day"),
    "window": gettext_lazy("window"),
    "name": gettext_lazy("name"),
    "first": gettext_lazy("first event"),
    "then": gettext_lazy("second event"),
    "where": gettext_lazy("property"),
    "key": gettext_lazy("name"),
    "op": gettext_lazy("comparison"),
    "channel": gettext_lazy("channel"),
    "currency": gettext_lazy("currency"),
    "segment": gettext_lazy("segment"),
}


@dataclass(frozen=True)
class Problem:
    """What is wrong at one place of a tree: ('nodes', 0, 'days'), 'must be at least 1'."""

    path: Path
    message: str

    @property
    def sentence(self) -> str:
        """The problem for a person, told where it stands."""
        steps = [str(step + 1) for step in self.path if isinstance(step, int)]
        named = [step for step in self.path if isinstance(step, str) and step not in ("nodes", "node")]
        if not steps and not named:
            return str(capfirst(self.message))
        field = str(FIELDS.get(named[-1], named[-1])) if named else ""
        if not steps:
            return _("{field}: {message}").format(field=capfirst(field), message=self.message)
        place = ".".join(steps)
        if not named:
            return _("Condition {place}: {message}").format(place=place, message=self.message)
        return _("Condition {place}, {field}: {message}").format(
            place=place, field=field, message=self.message
        )


class TreeError(DomainError):
    """The tree cannot be used; `problems` says what is wrong, each with its place."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__(" ".join(problem.sentence for problem in problems))

    @classmethod
    def at_top(cls, message: str) -> Self:
        return cls(Problem((), message))


# --- values -------------------------------------------------------------------------------------


def _storable(text: str) -> str:
    """Control characters and halves of surrogate pairs cannot be compared in PostgreSQL."""
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise ValueError(_("contains characters that cannot be searched for."))
    return text


_STORABLE = AfterValidator(_storable)
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), _STORABLE]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), _STORABLE]
Code = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40), _STORABLE]
Values = Annotated[tuple[Text, ...], Field(max_length=MAX_VALUES)]
Days = Annotated[int, Field(ge=1, le=MAX_DAYS)]
Years = Annotated[int, Field(ge=0, le=130)]
Day = Annotated[date, Field(ge=date(1880, 1, 1), le=date(2200, 1, 1))]
Number = Annotated[Decimal, Field(max_digits=18, decimal_places=6)]
Amount = Annotated[int, Field(ge=0, le=10**13)]

TextOp = Literal["is", "is_not", "one_of", "not_one_of", "contains", "not_contains", "starts_with"]
NumberOp = Literal["equals", "more_than", "less_than", "at_least", "at_most"]
SetOp = Literal["set", "not_set"]
CountOp = Literal["at_least", "at_most", "exactly"]

ONE_VALUE = frozenset({"is", "is_not", "contains", "not_contains", "starts_with"})
MANY_VALUES = frozenset({"one_of", "not_one_of"})
NUMBER_OPS = frozenset({"equals", "more_than", "less_than", "at_least", "at_most"})


class Node(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Ever(Node):
    type: Literal["ever"]


class LastDays(Node):
    """From `days` times 24 hours before the moment of asking until then."""

    type: Literal["last"]
    days: Days


class Between(Node):
    """Whole days in the time zone of the house, both included; one end may be open."""

    type: Literal["between"]
    since: Day | None = None
    until: Day | None = None

    @model_validator(mode="after")
    def has_an_end(self) -> Self:
        if not self.since and not self.until:
            raise ValueError(_("needs a first or a last day."))
        if self.since and self.until and self.since > self.until:
            raise ValueError(_("the first day is after the last."))
        return self


Window = Annotated[Ever | LastDays | Between, Field(discriminator="type")]
EVER = Ever(type="ever")


def _require(node: BaseModel, wanted: str | None, operands: Mapping[str, str]) -> None:
    """Exactly the operand an operator needs is given; `operands` maps field to what to say."""
    for field, ask in operands.items():
        given = getattr(node, field) not in (None, ())
        if field == wanted and not given:
            raise ValueError(ask)
        if field != wanted and given:
            raise ValueError(_("has a “{field}” its comparison does not use.").format(field=field))


class Comparison(Node):
    """A key of a JSON object compared with text or a number: traits, properties of events.

    A number is read from JSON numbers and from text that looks like one; anything else never compares.
    Negations (`is_not`, `not_one_of`, `not_contains`) hold where the key is missing.
    """

    key: Name
    op: TextOp | NumberOp | SetOp
    value: Text | None = None
    values: Values = ()
    number: Number | None = None

    @model_validator(mode="after")
    def has_its_operand(self) -> Self:
        wanted = (
            "value"
            if self.op in ONE_VALUE
            else "values"
            if self.op in MANY_VALUES
            else "number"
            if self.op in NUMBER_OPS
            else None
        )
        _require(
            self,
            wanted,
            {"value": _("needs a value."), "values": _("needs values."), "number": _("needs a number.")},
        )
        return self


class PropertyFilter(Comparison):
    """Narrows an event to those with such a property."""


Filters = Annotated[tuple[PropertyFilter, ...], Field(max_length=5)]


# --- conditions ---------------------------------------------------------------------------------

TEXT_ATTRIBUTES = frozenset({"first_name", "last_name", "city"})
CODE_ATTRIBUTES = frozenset({"language", "country", "timezone", "status", "home_store"})
TIME_ATTRIBUTES = frozenset({"created_at", "last_seen_at"})

_TEXT_OPS = frozenset(TextOp.__args__) | {"set", "not_set"}  # type: ignore[attr-defined]
_CODE_OPS = frozenset({"is", "is_not", "one_of", "not_one_of", "set", "not_set"})
_TIME_OPS = frozenset({"before", "after", "in_last", "older_than", "set", "not_set"})
_BIRTH_OPS = frozenset(
    {"before", "after", "set", "not_set", "birthday_within", "age_at_least", "age_at_most"}
)


def operators_of(attribute: str) -> frozenset[str]:
    """The comparisons an attribute of a customer allows."""
    if attribute in TEXT_ATTRIBUTES:
        return _TEXT_OPS
    if attribute in CODE_ATTRIBUTES:
        return _CODE_OPS
    return _TIME_OPS if attribute in TIME_ATTRIBUTES else _BIRTH_OPS


class Attribute(Node):
    """A column of the customer. Names and cities compare without regard to case, codes exactly.

    `home_store` is the code of a store. Negations hold where nothing is known, every other comparison
    does not.
    """

    type: Literal["attribute"]
    name: Literal[
        "first_name",
        "last_name",
        "city",
        "language",
        "country",
        "timezone",
        "status",
        "home_store",
        "birth_date",
        "created_at",
        "last_seen_at",
    ]
    op: (
        TextOp
        | SetOp
        | Literal[
            "before", "after", "in_last", "older_than", "birthday_within", "age_at_least", "age_at_most"
        ]
    )
    value: Text | None = None
    values: Values = ()
    date: Day | None = None
    days: Annotated[int, Field(ge=0, le=MAX_DAYS)] | None = None
    years: Years | None = None

    @model_validator(mode="after")
    def has_its_operand(self) -> Self:
        if self.op not in operators_of(self.name):
            raise ValueError(_("this comparison does not fit what is compared."))
        wanted = {
            "before": "date",
            "after": "date",
            "in_last": "days",
            "older_than": "days",
            "birthday_within": "days",
            "age_at_least": "years",
            "age_at_most": "years",
        }.get(self.op)
        if self.op in ONE_VALUE:
            wanted = "value"
        elif self.op in MANY_VALUES:
            wanted = "values"
        _require(
            self,
            wanted,
            {
                "value": _("needs a value."),
                "values": _("needs values."),
                "date": _("needs a day."),
                "days": _("needs a number of days."),
                "years": _("needs a number of years."),
            },
        )
        if self.op == "birthday_within" and self.days is not None and self.days > 365:
            raise ValueError(_("a birthday is at most 365 days away."))
        return self


class Trait(Comparison):
    """A trait of the customer."""

    type: Literal["trait"]


class HasIdentifier(Node):
    """Whether an identifier of a kind (`email`, `phone`, `card`, `external:pos`, …) is known."""

    type: Literal["identifier"]
    kind: Code
    has: bool = True


ChannelName = Literal["email", "sms"]


class ConsentIs(Node):
    """What the person last said about marketing by a channel; `unknown` when nothing."""

    type: Literal["consent"]
    channel: ChannelName
    state: Literal["granted", "denied", "revoked", "unknown"]
    op: Literal["is", "is_not"] = "is"


class Reachable(Node):
    """Whether a channel may reach the person: an address, consent, and no block on the address."""

    type: Literal["reachable"]
    channel: ChannelName
    can: bool = True


class EventCount(Node):
    """How often something happened to the person within a window."""

    type: Literal["event"]
    name: Name
    op: Literal["did", "did_not", "at_least", "at_most", "exactly"] = "did"
    times: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    window: Window = EVER
    where: Filters = ()
    channel: Code | None = None
    store: Code | None = None

    @model_validator(mode="after")
    def has_its_operand(self) -> Self:
        wanted = None if self.op in ("did", "did_not") else "times"
        _require(self, wanted, {"times": _("needs a number of times.")})
        return self


class Sequence(Node):
    """Did one thing and then, within some days, another, or then did not.

    `did=False` waits for the days to have passed: who still has time to do it is not in yet.
    """

    type: Literal["sequence"]
    first: Name
    then: Name
    within: Days
    did: bool = True
    window: Window = EVER
    first_where: Filters = ()
    then_where: Filters = ()


class Orders(Node):
    """Completed orders of the person within a window, added up.

    `count` and `quantity` (pieces) compare `value` as numbers, `revenue` and `average` in minor units of
    `currency`, leaving other currencies out. Who has no orders has a count, quantity and revenue of zero
    but no average. `first` and `last` compare the time of the first or last order with `days` or `date`.
    """

    type: Literal["orders"]
    measure: Literal["count", "quantity", "revenue", "average", "first", "last"]
    op: CountOp | Literal["before", "after", "in_last", "older_than"]
    value: Amount | None = None
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] | None = None
    date: Day | None = None
    days: Days | None = None
    window: Window = EVER
    channel: Code | None = None
    store: Code | None = None

    @model_validator(mode="after")
    def has_its_operand(self) -> Self:
        is_time = self.measure in ("first", "last")
        if is_time == (self.op in ("at_least", "at_most", "exactly")):
            raise ValueError(_("this comparison does not fit what is compared."))
        wanted = "value"
        if is_time:
            wanted = "date" if self.op in ("before", "after") else "days"
        _require(
            self,
            wanted,
            {
                "value": _("needs a number."),
                "date": _("needs a day."),
                "days": _("needs a number of days."),
            },
        )
        if (self.measure in ("revenue", "average")) != (self.currency is not None):
            raise ValueError(_("an amount, and only an amount, needs a currency."))
        return self


class InSegment(Node):
    """Whether the person is in another segment or on a fixed list."""

    type: Literal["segment"]
    segment: Annotated[int, Field(ge=1, le=2**63 - 1)]
    member: bool = True


# --- groups -------------------------------------------------------------------------------------


class AllOf(Node):
    """Everything in it holds; empty, it is everybody."""

    type: Literal["all"]
    nodes: tuple["Tree", ...]


class AnyOf(Node):
    """At least one thing in it holds."""

    type: Literal["any"]
    nodes: tuple["Tree", ...]

    @model_validator(mode="after")
    def has_a_choice(self) -> Self:
        if not self.nodes:
            raise ValueError(_("this group has no conditions."))
        return self


class Not(Node):
    """Exactly the people its node does not hold for."""

    type: Literal["not"]
    node: "Tree"


Condition = Annotated[
    Attribute | Trait | HasIdentifier | ConsentIs | Reachable | EventCount | Sequence | Orders | InSegment,
    Field(discriminator="type"),
]
Tree = Annotated[
    AllOf
    | AnyOf
    | Not
    | Attribute
    | Trait
    | HasIdentifier
    | ConsentIs
    | Reachable
    | EventCount
    | Sequence
    | Orders
    | InSegment,
    Field(discriminator="type"),
]
AllOf.model_rebuild()
AnyOf.model_rebuild()
Not.model_rebuild()

_TREE: TypeAdapter[Any] = TypeAdapter(Tree)
_TAGS = frozenset(
    {"all", "any", "not", "attribute", "trait", "identifier", "consent", "reachable", "event", "sequence"}
    | {"orders", "segment", "ever", "last", "between"}
)


def parse_tree(definition: Any) -> Any:
    """The tree a definition (parsed JSON) stands for; raises TreeError with every problem found."""
    _check_size(definition)
    try:
        return _TREE.validate_python(definition, strict=False)
    except ValidationError as error:
        problems = [Problem(_path(detail["loc"]), _plain(detail)) for detail in error.errors()]
        raise TreeError(*problems[:20]) from error


def dump_tree(tree: Any) -> dict[str, Any]:
    """The JSON a tree is kept as, without what it leaves unsaid."""
    dumped: dict[str, Any] = tree.model_dump(mode="json", exclude_defaults=True)
    return dumped


def conditions_of(tree: Any) -> Iterator[Any]:
    """Every condition of a tree, in reading order."""
    if isinstance(tree, AllOf | AnyOf):
        for node in tree.nodes:
            yield from conditions_of(node)
    elif isinstance(tree, Not):
        yield from conditions_of(tree.node)
    else:
        yield tree


def segments_in(tree: Any) -> set[int]:
    """The ids of the segments a tree names."""
    return {node.segment for node in conditions_of(tree) if isinstance(node, InSegment)}


def _check_size(definition: Any) -> None:
    """Refuse what is too deep or too long before anything walks it recursively."""
    if not isinstance(definition, dict):
        raise TreeError.at_top(_("A segment is a tree of conditions."))
    conditions, level = 0, [definition]
    for depth in range(MAX_DEPTH + 1):
        deeper: list[Any] = []
        for node in level:
            nodes = node.get("nodes") if isinstance(node, dict) else None
            inner = list(nodes) if isinstance(nodes, list) else []
            if isinstance(node, dict) and "node" in node:
                inner.append(node["node"])
            conditions += not inner
            deeper.extend(inner)
        if conditions + len(deeper) > MAX_CONDITIONS * 3 or conditions > MAX_CONDITIONS:
            raise TreeError.at_top(
                _("A segment has at most {limit} conditions. Split it into two segments.").format(
                    limit=MAX_CONDITIONS
                )
            )
        if not deeper:
            return
        if depth + 1 == MAX_DEPTH:
            raise TreeError.at_top(
                _("Groups stand inside each other at most {limit} deep.").format(limit=MAX_DEPTH)
            )
        level = deeper


def _path(location: tuple[str | int, ...]) -> Path:
    """Pydantic's location without the tags of the unions it went through.

    A tag always follows a position or opens the path or names a window, never a field of ours alone.
    """
    kept: list[str | int] = []
    for index, step in enumerate(location):
        before = location[index - 1] if index else None
        opens = before is None or isinstance(before, int) or before in ("node", "window")
        if step in _TAGS and opens:
            continue
        kept.append(step)
    return tuple(kept)


def _plain(detail: ErrorDetails) -> str:
    """Pydantic's error in the words of the house."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "union_tag_not_found":
        return _("the kind of condition is missing.")
    if kind in ("missing", "string_too_short", "too_short", "none_required"):
        return _("is missing.")
    if kind in ("greater_than_equal", "greater_than"):
        return _("must be at least {limit}.").format(limit=context.get("ge", context.get("gt")))
    if kind in ("less_than_equal", "less_than"):
        return _("must be at most {limit}.").format(limit=context.get("le", context.get("lt")))
    if kind == "string_too_long":
        return _("has at most {limit} characters.").format(limit=context["max_length"])
    if kind == "too_long":
        return _("has at most {limit} values.").format(limit=context["max_length"])
    if kind in ("literal_error", "union_tag_invalid"):
        given = context.get("tag", detail["input"])
        return _("“{given}” is not one of the choices.").format(given=str(given)[:60])
    if kind == "extra_forbidden":
        return _("is not part of this condition.")
    if kind.startswith("int"):
        return _("must be a whole number.")
    if kind.startswith("decimal") or kind == "finite_number":
        return _("must be a number of at most 12 digits and 6 decimals.")
    if kind.startswith("date"):
        return _("must be a day like 2026-01-31.")
    return _("is not valid.")
