"""One chunk of customer rows against what we know: who is new, what changes, what was said.

The chunk's identifiers are staged by COPY and matched in one statement, the customers found are locked in
pk order and read with their consents, the rows are folded onto them in the order of the file, and what
came of it is written set-based. So a row sees what the rows before it did, whatever the chunk size.
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection
from django.utils.translation import gettext as _

from customers import events
from customers.models import Consent, ConsentState, Customer, Identifier

from .people import PersonRow, Statement
from .staging import Raced, any_of, copy_rows, find_owners, new_ids, stage

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
EVENT_COLUMNS = ("customer_id", "name", "source", "key", "occurred_at", "channel", "order_ref", "properties")
CONSENT_COLUMNS = (
    "id",
    "customer_id",
    "channel",
    "purpose",
    "state",
    "source",
    "wording",
    "evidence",
    "actor_id",
    "effective_at",
)


@dataclass(frozen=True)
class Setup:
    """What every chunk of one import needs to know about it. `source` names the system of the orders."""

    file_name: str
    at: datetime
    by_id: int | None = None
    source: str = "import"


@dataclass
class Outcome:
    """What became of the rows of a chunk: each is counted exactly once."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejections: list[tuple[int, str]] = field(default_factory=list)  # Line and reason.


@dataclass(frozen=True, slots=True)
class Said:
    """A statement to record: as what, since when, from which line."""

    line: int
    statement: Statement
    state: str
    at: datetime


@dataclass
class Person:
    """A customer while rows are folded onto it."""

    pk: int
    values: dict[str, Any]
    traits: dict[str, Any]
    before: tuple[dict[str, Any], dict[str, Any]] | None = None  # Values and traits; None for a new one.
    first_line: int = 0
    keys: set[Key] = field(default_factory=set)
    consents: dict[tuple[str, str], tuple[str, datetime]] = field(default_factory=dict)
    added: list[Key] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    lines: Counter[str] = field(default_factory=Counter)

    @property
    def is_new(self) -> bool:
        return self.before is None

    @property
    def is_dirty(self) -> bool:
        return not self.is_new and (self.values, self.traits) != self.before

    @property
    def numbers(self) -> set[str]:
        return {value for kind, value in self.keys if kind == Identifier.Kind.USER_ID}


def apply_people(rows: Sequence[PersonRow], setup: Setup, *, for_good: bool) -> Outcome:
    """Create and update customers from these rows, within the caller's transaction.

    Without `for_good` nothing is written or locked and the outcome is what would be.

    Raises Raced when an identifier was taken while we worked; nothing may be kept then.
    """
    owners = find_owners({key for row in rows for key in row.keys})
    people = _load(sorted(set(owners.values())), lock=for_good)
    strangers = sum(not any(key in owners for key in row.keys) for row in rows)
    fresh = iter(new_ids("customers_customer", strangers))
    refusals: list[tuple[int, str]] = []
    for row in rows:
        found = {owners[key]: key for key in reversed(row.keys) if key in owners}
        refusal = _refusal(row, found, people)
        if refusal:
            refusals.append((row.line, refusal))
            continue
        person = people[next(iter(found))] if found else _begin(next(fresh), row, setup)
        people[person.pk] = person
        _fold(row, person, setup)
        owners.update(dict.fromkeys(row.keys, person.pk))
    if for_good:
        _write(list(people.values()), setup)
    return _count(people.values(), refusals)


def _begin(pk: int, row: PersonRow, setup: Setup) -> Person:
    values: dict[str, Any] = dict.fromkeys(ATTRIBUTES, "") | {"birth_date": None, "home_store_id": None}
    values |= {"created_at": setup.at, "status": Customer.Status.KNOWN}
    return Person(pk, values, {}, first_line=row.line)


def _refusal(row: PersonRow, found: dict[int, Key], people: dict[int, Person]) -> str:
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


def _fold(row: PersonRow, person: Person, setup: Setup) -> None:
    """Lay the row over the person: what it says wins, what it leaves empty stays."""
    changes = {name: value for name, value in row.values.items() if person.values[name] != value}
    if person.values["status"] == Customer.Status.ANONYMOUS:
        changes["status"] = Customer.Status.KNOWN
    traits = {name: value for name, value in row.traits.items() if person.traits.get(name) != value}
    added = [key for key in row.keys if key not in person.keys]
    said = [_said(row, statement, person, setup) for statement in row.statements]
    person.values |= changes
    person.traits |= traits
    person.keys.update(added)
    person.added.extend(added)
    person.said.extend(filter(None, said))
    if person.is_new and not person.lines:
        person.lines["created"] += 1
    else:
        person.lines["updated" if changes or traits or added or any(said) else "unchanged"] += 1


def _said(row: PersonRow, statement: Statement, person: Person, setup: Setup) -> Said | None:
    """The statement to record, if it says something new: the newest wins, at one moment the stricter.

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
            return None
        if withdraws:
            state = ConsentState.REVOKED
    person.consents[subject] = (state, at)
    return Said(row.line, statement, state, at)


def _load(ids: list[int], *, lock: bool) -> dict[int, Person]:
    """The customers with these ids, their identifiers and consents; locked in pk order."""
    if not ids:
        return {}
    people = {}
    found = Customer.objects.filter(pk__in=any_of(ids)).order_by("pk")
    if lock:
        found = found.select_for_update(no_key=True)
    for values in found.values("pk", "traits", *ATTRIBUTES):
        pk, traits = values.pop("pk"), values.pop("traits")
        people[pk] = Person(pk, values, dict(traits), before=(dict(values), traits))
    identifiers = Identifier.objects.filter(customer__in=any_of(ids))
    for pk, kind, value in identifiers.values_list("customer_id", "kind", "value"):
        people[pk].keys.add((kind, value))
    consents = Consent.objects.filter(customer__in=any_of(ids))
    for pk, channel, purpose, state, at in consents.values_list(
        "customer_id", "channel", "purpose", "state", "effective_at"
    ):
        people[pk].consents[channel, purpose] = (state, at)
    return people


def _count(people: Iterable[Person], refusals: list[tuple[int, str]]) -> Outcome:
    """Every row once. Rows that undid each other, as doubles do in a re-run, changed nothing."""
    lines: Counter[str] = Counter()
    for person in people:
        if person.is_new or person.is_dirty or person.added or person.said:
            lines.update(person.lines)
        else:
            lines["unchanged"] += person.lines.total()
    return Outcome(lines["created"], lines["updated"], lines["unchanged"], refusals)


_COLUMNS = ("id", *ATTRIBUTES, "traits")
# The primary key finds the rows; they are locked already.
_UPDATE = """
UPDATE customers_customer AS customer
SET status = new.status, first_name = new.first_name, last_name = new.last_name,
    language = new.language, birth_date = new.birth_date, city = new.city, country = new.country,
    timezone = new.timezone, home_store_id = new.home_store_id, created_at = new.created_at,
    traits = new.traits, updated_at = now()
FROM import_person AS new WHERE customer.id = new.id
"""
_ADD_IDENTIFIERS = """
INSERT INTO customers_identifier (customer_id, kind, value)
SELECT customer_id, kind, value FROM import_identifier ORDER BY kind, value
ON CONFLICT (kind, value) DO NOTHING
"""


def _write(people: list[Person], setup: Setup) -> None:
    """Everything the fold came to, in as many statements as there are tables."""
    new = [person for person in people if person.is_new]
    dirty = [person for person in people if person.is_dirty]
    public_ids = {person.pk: uuid.uuid4() for person in new}
    copy_rows(
        "customers_customer",
        (*_COLUMNS, "public_id"),
        ((*_columns_of(person), public_ids[person.pk]) for person in new),
    )
    if dirty:
        stage("import_person", _staged_columns(), _COLUMNS, map(_columns_of, dirty))
        with connection.cursor() as cursor:
            cursor.execute(_UPDATE)
    _write_identifiers(people)
    _write_consents([(person, said) for person in people for said in person.said], setup)
    imported = (_imported_event(person, str(public_ids[person.pk]), setup) for person in new)
    copy_rows("customers_event", EVENT_COLUMNS, imported)


def _staged_columns() -> str:
    return (
        "id bigint, status text, first_name text, last_name text, language text, birth_date date, city text,"
        " country text, timezone text, home_store_id bigint, created_at timestamptz, traits jsonb"
    )


def _columns_of(person: Person) -> tuple[Any, ...]:
    return (person.pk, *(person.values[name] for name in ATTRIBUTES), person.traits)


def _write_identifiers(people: list[Person]) -> None:
    added = [(person.pk, *key) for person in people for key in person.added]
    if not added:
        return
    columns = ("customer_id", "kind", "value")
    stage("import_identifier", "customer_id bigint, kind text, value text", columns, added)
    with connection.cursor() as cursor:
        cursor.execute(_ADD_IDENTIFIERS)
        if cursor.rowcount != len(added):
            raise Raced


def _write_consents(statements: list[tuple[Person, Said]], setup: Setup) -> None:
    """Each statement with its proof; what changes for a customer we knew is an event as well."""
    ids = new_ids("customers_consentevent", len(statements))
    numbered = [(pk, person, said) for pk, (person, said) in zip(ids, statements, strict=True)]
    copy_rows("customers_consentevent", CONSENT_COLUMNS, (_proof(*each, setup) for each in numbered))
    # A new customer's first statements stand in Customer Imported.
    changes = (_change(*each, setup) for each in numbered if not each[1].is_new)
    copy_rows("customers_event", EVENT_COLUMNS, changes)


def _proof(pk: int, person: Person, said: Said, setup: Setup) -> tuple[Any, ...]:
    what = (said.statement.channel, said.statement.purpose, said.state)
    proof = (_source(said, setup), said.statement.wording, _evidence(said.line, setup))
    return (pk, person.pk, *what, *proof, setup.by_id, said.at)


def _change(pk: int, person: Person, said: Said, setup: Setup) -> tuple[Any, ...]:
    properties = {"state": said.state, "purpose": said.statement.purpose, "source": _source(said, setup)}
    key, channel = str(pk), said.statement.channel
    return (person.pk, events.CONSENT_CHANGED, "consent", key, said.at, channel, "", properties)


def _source(said: Said, setup: Setup) -> str:
    return said.statement.source or _("file {name}").format(name=setup.file_name)[:100]


def _evidence(line: int, setup: Setup) -> str:
    return _("{file}, line {line}").format(file=setup.file_name[:200], line=line)


def _imported_event(person: Person, public_id: str, setup: Setup) -> tuple[Any, ...]:
    consents = {subject[0] or subject[1]: state for subject, (state, _at) in person.consents.items()}
    properties = {"file": setup.file_name, "line": person.first_line, "consents": consents}
    return (person.pk, events.CUSTOMER_IMPORTED, "import", public_id, setup.at, "", "", properties)
