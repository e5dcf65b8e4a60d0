"""One chunk of customer rows against what we know: who is new, what changes, what was said.

The chunk's identifiers are staged by COPY and matched in one statement, the customers found are locked in
pk order and read with their consents, the rows are folded onto them in the order of the file, and what
came of it is written set-based. So a row sees what the rows before it did, whatever the chunk size.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from customers.models import Consent, Customer, Identifier

from .fold import ATTRIBUTES, Person, Setup, begin, fold, refusal_of
from .people import PersonRow
from .staging import any_of, find_owners, new_ids
from .write import write_people


@dataclass
class Outcome:
    """What became of the rows of a chunk: each is counted exactly once."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejections: list[tuple[int, str]] = field(default_factory=list)  # Line and reason.


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
        if not found:
            person = begin(next(fresh), row, setup)
            people[person.pk] = person
            owners.update(dict.fromkeys(row.keys, person.pk))
        elif refusal := refusal_of(row, found, people):
            refusals.append((row.line, refusal))
        else:
            person = people[next(iter(found))]
            fold(row, person, setup)
            owners.update(dict.fromkeys(row.keys, person.pk))
    if for_good:
        write_people(list(people.values()), setup)
    return _count(people.values(), refusals)


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
    outcome = Outcome(rejections=refusals)
    for person in people:
        if person.is_new:
            outcome.created += 1
        if person.is_new or person.is_dirty or person.added or person.said:
            outcome.updated += person.updating
            outcome.unchanged += person.repeating
        else:
            outcome.unchanged += person.updating + person.repeating
    return outcome
