"""What a chunk of customer rows came to, written in as many statements as there are tables.

What is new is copied straight into its table, in the order of its indexes where that spares them work. An
identifier somebody took meanwhile breaks the copy off, and the whole chunk is run again.
"""

import json
import uuid
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

from django.db import IntegrityError, connection
from django.utils.translation import gettext as _

from customers import events

from .fold import ATTRIBUTES, Person, Said, Setup
from .staging import Raced, copy_lines, copy_rows, escaped, new_ids, stage

NULL = r"\N"
EVENT_COLUMNS = ("customer_id", "name", "source", "key", "occurred_at", "channel", "order_ref", "properties")
PROOF_COLUMNS = (
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
_values_of = itemgetter(*ATTRIBUTES)


def write_people(people: Sequence[Person], setup: Setup) -> None:
    """Raises Raced when an identifier belongs to somebody else by now."""
    new = [person for person in people if person.is_new]
    known = [person for person in people if not person.is_new]
    copy_rows(
        "customers_customer",
        ("id", "public_id", "traits", *ATTRIBUTES),
        ((person.pk, uuid.uuid4(), _traits(person), *_values_of(person.values)) for person in new),
    )
    _write_changes([person for person in known if person.is_dirty])
    _write_identifiers(people)
    proofs = _Proofs(setup)
    _write_first_consents(new, proofs)
    _write_changed_consents(known, proofs)
    copy_lines("customers_event", EVENT_COLUMNS, _imported_events(new, setup))


# The primary key finds the rows; they are locked already.
_UPDATE = """
UPDATE customers_customer AS customer
SET status = new.status, first_name = new.first_name, last_name = new.last_name,
    language = new.language, birth_date = new.birth_date, city = new.city, country = new.country,
    timezone = new.timezone, home_store_id = new.home_store_id, created_at = new.created_at,
    traits = new.traits, updated_at = now()
FROM import_person AS new WHERE customer.id = new.id
"""
_PERSON = """
id bigint, traits jsonb, status text, first_name text, last_name text, language text, birth_date date,
city text, country text, timezone text, home_store_id bigint, created_at timestamptz
"""


def _write_changes(people: Sequence[Person]) -> None:
    if not people:
        return
    rows = ((person.pk, _traits(person), *_values_of(person.values)) for person in people)
    stage("import_person", _PERSON, ("id", "traits", *ATTRIBUTES), rows)
    with connection.cursor() as cursor:
        cursor.execute(_UPDATE)


def _write_identifiers(people: Sequence[Person]) -> None:
    added = [(*key, person.pk) for person in people for key in person.added]
    added.sort()
    lines = (f"{kind}\t{escaped(value)}\t{pk}\n" for kind, value, pk in added)
    try:
        copy_lines("customers_identifier", ("kind", "value", "customer_id"), lines)
    except IntegrityError as error:
        raise Raced from error


def _write_first_consents(people: Sequence[Person], proofs: "_Proofs") -> None:
    """Each statement with its proof; as events they stand in Customer Imported."""
    lines = (proofs.of(person, said) for person in people for said in person.said)
    copy_lines("customers_consentevent", PROOF_COLUMNS, lines)


def _write_changed_consents(people: Sequence[Person], proofs: "_Proofs") -> None:
    """Each statement with its proof, and as an event of its own."""
    changes = [(person, said) for person in people for said in person.said]
    if not changes:
        return
    ids = new_ids("customers_consentevent", len(changes))
    numbered = [(pk, *change) for pk, change in zip(ids, changes, strict=True)]
    lines = (f"{pk}\t{proofs.of(person, said)}" for pk, person, said in numbered)
    copy_lines("customers_consentevent", ("id", *PROOF_COLUMNS), lines)
    copy_lines("customers_event", EVENT_COLUMNS, (proofs.event_of(*change) for change in numbered))


class _Proofs:
    """How this import proves what it says was said, as lines to copy."""

    def __init__(self, setup: Setup) -> None:
        self.by_id = NULL if setup.by_id is None else str(setup.by_id)
        self.source = _("file {name}").format(name=setup.file_name)[:100]
        before, after = _("{file}, line {line}").split("{line}")
        name = setup.file_name[:200]
        self.before, self.after = escaped(before.format(file=name)), escaped(after.format(file=name))
        self.origins: dict[tuple[str, str], str] = {}  # Thousands of rows name one of a few.

    def of(self, person: Person, said: Said) -> str:
        line, (channel, purpose, _state, _at, source, wording), state, at = said
        origin = self.origins.get((source, wording))
        if origin is None:
            origin = f"{escaped(source or self.source)}\t{escaped(wording)}"
            self.origins[source, wording] = origin
        evidence = f"{self.before}{line}{self.after}"
        what = f"{person.pk}\t{channel}\t{purpose}\t{state}"
        return f"{what}\t{origin}\t{evidence}\t{self.by_id}\t{at.isoformat()}\n"

    def event_of(self, pk: int, person: Person, said: Said) -> str:
        statement = said.statement
        source = statement.source or self.source
        what = {"state": said.state, "purpose": statement.purpose, "source": source}
        properties = escaped(json.dumps(what))
        return (
            f"{person.pk}\t{events.CONSENT_CHANGED}\tconsent\t{pk}\t{said.at.isoformat()}"
            f"\t{statement.channel}\t\t{properties}\n"
        )


def _imported_events(people: Sequence[Person], setup: Setup) -> Iterator[str]:
    """Customer Imported, which says from where and what the person consented to."""
    file_name, at = escaped(json.dumps(setup.file_name)), setup.at.isoformat()
    known: dict[tuple[Any, ...], str] = {}  # Thousands of people said one of a few things.
    for person in people:
        said = tuple((subject, state) for subject, (state, _at) in person.consents.items())
        if said not in known:
            states = {channel or purpose: state for (channel, purpose), state in said}
            known[said] = escaped(json.dumps(states))
        properties = f'{{"file": {file_name}, "line": {person.first_line}, "consents": {known[said]}}}'
        yield (f"{person.pk}\t{events.CUSTOMER_IMPORTED}\timport\t{person.pk}\t{at}\t\t\t{properties}\n")


def _traits(person: Person) -> str:
    return json.dumps(person.traits) if person.traits else "{}"
