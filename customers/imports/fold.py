"""The rows of a file laid over the people they are about, one after the other, before anything is written."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from customers.models import ConsentState, Customer, Identifier

from .people import PersonRow, Statement

Key = tuple[str, str]  # Kind and normalised value of an identifier.
ATTRIBUTES = (
    "status",
    "first_name",
    "last_name",
    "language",
    "birth_date",
    "city",
    "country",
    "timezone",
    "home_store_id",
    "created_at",
)


@dataclass(frozen=True)
class Setup:
    """What every chunk of one import needs to know about it. `source` names the system of the orders."""

    file_name: str
    at: datetime
    by_id: int | None = None
    source: str = "import"


class Said(NamedTuple):
    """A statement to record: as what, since when, from which line."""

    line: int
    statement: Statement
    state: str
    at: datetime


@dataclass(slots=True)
class Person:
    """A customer while rows are folded onto it, and how many rows changed it or not."""

    pk: int
    values: dict[str, Any]
    traits: dict[str, Any]
    before: tuple[dict[str, Any], dict[str, Any]] | None = None  # Values and traits; None for a new one.
    first_line: int = 0
    keys: set[Key] = field(default_factory=set)
    consents: dict[tuple[str, str], tuple[str, datetime]] = field(default_factory=dict)
    added: list[Key] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    updating: int = 0
    repeating: int = 0

    @property
    def is_new(self) -> bool:
        return self.before is None

    @property
    def is_dirty(self) -> bool:
        return not self.is_new and (self.values, self.traits) != self.before

    @property
    def numbers(self) -> set[str]:
        return {value for kind, value in self.keys if kind == Identifier.Kind.USER_ID}


_BLANK: dict[str, Any] = dict.fromkeys(ATTRIBUTES, "") | {
    "birth_date": None,
    "home_store_id": None,
    "status": Customer.Status.KNOWN.value,
}


def begin(pk: int, row: PersonRow, setup: Setup) -> Person:
    """A customer nobody knew, as the row describes them."""
    values = {**_BLANK, "created_at": setup.at, **row.values}
    person = Person(pk, values, row.traits, first_line=row.line, keys=set(row.keys), added=list(row.keys))
    for statement in row.statements:
        _hear(row.line, statement, person, setup)
    return person


def refusal_of(row: PersonRow, found: dict[int, Key], people: dict[int, Person]) -> str:
    """Why these identifiers cannot belong to one customer; two known people are never merged by machine."""
    if len(found) > 1:
        named = " / ".join(value for _kind, value in reversed(found.values()))
        return _("The identifiers belong to different customers: {identifiers}.").format(identifiers=named)
    number = next((value for kind, value in row.keys if kind == Identifier.Kind.USER_ID), "")
    for pk, (_kind, value) in found.items():
        numbers = people[pk].numbers
        if number and numbers and number not in numbers:
            return _("{identifier} belongs to customer number {number}.").format(
                identifier=value, number=min(numbers)
            )
        if people[pk].values["status"] not in (Customer.Status.KNOWN, Customer.Status.ANONYMOUS):
            return _("{identifier} belongs to a customer who was merged or erased.").format(identifier=value)
    return ""


def fold(row: PersonRow, person: Person, setup: Setup) -> None:
    """Lay the row over the person: what it says wins, what it leaves empty stays."""
    changes = {name: value for name, value in row.values.items() if person.values[name] != value}
    if person.values["status"] == Customer.Status.ANONYMOUS:
        changes["status"] = Customer.Status.KNOWN.value
    traits = {name: value for name, value in row.traits.items() if person.traits.get(name) != value}
    added = [key for key in row.keys if key not in person.keys]
    said = [_hear(row.line, statement, person, setup) for statement in row.statements]
    person.values |= changes
    person.traits |= traits
    person.keys.update(added)
    person.added.extend(added)
    if changes or traits or added or any(said):
        person.updating += 1
    else:
        person.repeating += 1


def _hear(line: int, statement: Statement, person: Person, setup: Setup) -> bool:
    """Remember the statement if it says something new: the newest wins, at one moment the stricter.

    A statement without a date counts as said when the file came: it may withdraw a consent or be the
    first we hear, but an undated yes never lifts a recorded no. The person remembers what was said.
    """
    subject = (statement.channel, statement.purpose)
    state, at = statement.state, statement.at or setup.at
    if subject in person.consents:
        known_state, known_at = person.consents[subject]
        withdraws = known_state == ConsentState.GRANTED and state != ConsentState.GRANTED
        is_newer = statement.at is not None and statement.at > known_at
        is_as_old = statement.at is None or statement.at == known_at
        if not is_newer and not (is_as_old and withdraws):
            return False
        if withdraws:
            state = ConsentState.REVOKED.value
    person.consents[subject] = (state, at)
    person.said.append(Said(line, statement, state, at))
    return True
