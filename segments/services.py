"""What may be done to a segment. Questions that change nothing are in `questions`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pghistory
from django.db import IntegrityError, transaction
from django.utils.timezone import now
from django.utils.translation import gettext as _

from core.doorbell import ring
from core.errors import DomainError
from customers.addresses import InvalidIdentifier, normalise_email, normalise_phone
from customers.models import Customer, Identifier

from . import membership
from . import tree as t
from .compiler import Compiler, in_segment
from .limits import TooSlow, web_limit
from .models import ListMember, Override, Segment

if TYPE_CHECKING:
    from core.models import User

MAX_PASTED = 10_000


@transaction.atomic
def create_segment(
    *,
    name: str,
    description: str = "",
    kind: str = Segment.Kind.RULES,
    definition: Any = None,
    by: "User | None",
) -> Segment:
    """A new segment; by rules it needs a definition, a fixed list starts empty.

    Raises TreeError when the definition is refused, DomainError when the name is taken.
    """
    segment = Segment(name=name.strip(), description=description.strip(), kind=kind, created_by=by)
    if not segment.is_list:
        segment.definition = _checked(segment, definition)
    return _saved(segment, by)


@transaction.atomic
def update_segment(
    segment_id: int, *, name: str, description: str = "", definition: Any = None, by: "User | None"
) -> Segment:
    """Rename and, for rules, redefine; a changed definition makes the stored count void."""
    segment = Segment.objects.select_for_update().get(pk=segment_id)
    _refuse_archived(segment)
    segment.name, segment.description = name.strip(), description.strip()
    if not segment.is_list:
        kept = _checked(segment, definition)
        if kept != segment.definition:
            segment.definition = kept
            _forget_count(segment)
    return _saved(segment, by)


@transaction.atomic
def duplicate_segment(segment_id: int, *, by: "User | None") -> Segment:
    """A copy under a free name, with the people somebody put on it or took out of it by hand."""
    original = Segment.objects.select_for_update().get(pk=segment_id)
    copy = Segment(
        name=_free_name(original.name),
        description=original.description,
        kind=original.kind,
        definition=original.definition,
        created_by=by,
    )
    _saved(copy, by)
    people = original.members.values_list("pk", flat=True)
    ListMember.objects.bulk_create(
        (ListMember(segment=copy, customer_id=pk, added_by=by) for pk in people), batch_size=5000
    )
    decided = original.overrides.values_list("customer", "kind")
    Override.objects.bulk_create(
        (Override(segment=copy, customer_id=pk, kind=kind, by=by) for pk, kind in decided), batch_size=5000
    )
    return copy


@transaction.atomic
def archive_segment(segment_id: int, *, by: "User | None") -> Segment:
    """Put a segment away; refused while another active segment names it."""
    segment = Segment.objects.select_for_update().get(pk=segment_id)
    users = [f"“{one.name}”" for one in Segment.objects.active().naming(segment_id).exclude(pk=segment_id)]
    if users:
        raise DomainError(
            _("“{name}” is used by {segments}. Change them first.").format(
                name=segment.name, segments=", ".join(users)
            )
        )
    segment.archived_at = segment.archived_at or now()
    return _saved(segment, by)


@transaction.atomic
def restore_segment(segment_id: int, *, by: "User | None") -> Segment:
    """Take a segment out of the archive."""
    segment = Segment.objects.select_for_update().get(pk=segment_id)
    segment.archived_at = segment.due_at = None  # Nobody followed it meanwhile: count it soon.
    return _saved(segment, by)


# --- by hand ---------------------------------------------------------------------------------------


@dataclass
class ByHand:
    """What became of a decision about some people: for how many it is new, for how many it held already,
    and what was pasted that is nobody (`unknown`) or more than one person (`ambiguous`)."""

    changed: int = 0
    already: int = 0
    unknown: list[str] = field(default_factory=list)
    ambiguous: list[str] = field(default_factory=list)


@transaction.atomic
def add_members(
    segment_id: int, *, pasted: str = "", customer_ids: Iterable[int] = (), by: "User | None"
) -> ByHand:
    """Add people by ids, or by identifiers separated by lines, commas or semicolons.

    On a fixed list they are on it from now on; a segment by rules keeps them in whatever its rules say.
    """
    segment, outcome = _open(segment_id), ByHand()
    wanted = set(customer_ids) | _found(pasted, outcome)
    people = set(Customer.objects.current().filter(pk__in=wanted).values_list("pk", flat=True))
    if segment.is_list:
        outcome.changed = _put_on_list(segment, people, by)
    else:
        outcome.changed = _decide(segment, people, Override.Kind.INCLUDE, by)
    outcome.already = len(people) - outcome.changed
    return outcome


@transaction.atomic
def remove_members(
    segment_id: int, *, pasted: str = "", customer_ids: Iterable[int] = (), by: "User | None"
) -> ByHand:
    """Take people off a fixed list, or keep them out of a segment by rules whatever its rules say."""
    segment, outcome = _open(segment_id), ByHand()
    people = set(customer_ids) | _found(pasted, outcome)
    if segment.is_list:
        outcome.changed = _take_off_list(segment, people)
    else:
        outcome.changed = _decide(segment, people, Override.Kind.EXCLUDE, by)
    outcome.already = len(people) - outcome.changed
    return outcome


@transaction.atomic
def create_list(
    *, name: str, description: str = "", pasted: str = "", by: "User | None"
) -> tuple[Segment, ByHand]:
    """A fixed list with the people of a paste on it."""
    segment = create_segment(name=name, description=description, kind=Segment.Kind.LIST, by=by)
    return segment, add_members(segment.pk, pasted=pasted, by=by)


@transaction.atomic
def leave_to_rules(segment_id: int, *, customer_ids: Iterable[int]) -> int:
    """Forget what was decided by hand about these people; returns about how many something was."""
    segment, people = _open(segment_id), set(customer_ids)
    if segment.is_list:
        raise DomainError(_("“{name}” is a fixed list.").format(name=segment.name))
    forgotten, _models = Override.objects.filter(segment=segment, customer__in=people).delete()
    _ask_again(segment, people)
    return forgotten


def _open(segment_id: int) -> Segment:
    """The segment, locked: two people adding at once do not trip over each other."""
    segment = Segment.objects.select_for_update().get(pk=segment_id)
    _refuse_archived(segment)
    return segment


def _put_on_list(segment: Segment, people: set[int], by: "User | None") -> int:
    present = ListMember.objects.filter(segment=segment, customer__in=people)
    new = people - set(present.values_list("customer", flat=True))
    ListMember.objects.bulk_create(
        (ListMember(segment=segment, customer_id=pk, added_by=by) for pk in sorted(new)), batch_size=5000
    )
    if new:
        _forget_count(segment)
        segment.save()
    return len(new)


def _take_off_list(segment: Segment, people: set[int]) -> int:
    removed, _models = ListMember.objects.filter(segment=segment, customer__in=people).delete()
    if removed:
        _forget_count(segment)
        segment.save()
    return removed


def _decide(segment: Segment, people: set[int], kind: str, by: "User | None") -> int:
    """Write down a decision by hand and carry it out; returns for how many it is new."""
    decided = Override.objects.filter(segment=segment, customer__in=people, kind=kind)
    new = people - set(decided.values_list("customer", flat=True))
    Override.objects.bulk_create(
        (Override(segment=segment, customer_id=pk, kind=kind, by=by) for pk in sorted(new)),
        batch_size=5000,
        update_conflicts=True,
        unique_fields=["segment", "customer"],
        update_fields=["kind", "by", "at"],
    )
    _ask_again(segment, new)
    return len(new)


def _ask_again(segment: Segment, people: set[int]) -> None:
    """Let the members show it at once. While a full count has the segment, the follower does it after."""
    if people and segment.counted_at and membership.try_lock(segment.pk):
        moment = now()
        moved = membership.keep_difference(segment.pk, moment, only=sorted(people))
        membership.write_moves(segment.pk, moment, moved)


def _found(pasted: str, outcome: ByHand) -> set[int]:
    """The customers behind pasted identifiers; what finds nobody or several goes to the outcome."""
    written = list(dict.fromkeys(part.strip() for part in re.split(r"[\n\r,;\t]+", pasted) if part.strip()))
    if len(written) > MAX_PASTED:
        raise DomainError(_("Paste at most {limit} identifiers at once.").format(limit=MAX_PASTED))
    meant = {one: _candidates(one) for one in written}
    values = {value for candidates in meant.values() for _kind, value in candidates}
    owners: dict[str, list[tuple[str, int]]] = {}
    for kind, value, owner in (
        Identifier.objects.filter(value__in=values, customer__in=Customer.objects.current())
        .values_list("kind", "value", "customer")
        .iterator()
    ):
        owners.setdefault(value, []).append((kind, owner))
    people: set[int] = set()
    for one, candidates in meant.items():
        found = {owner for kind, value in candidates for k, owner in owners.get(value, []) if kind in ("", k)}
        if len(found) == 1:
            people |= found
        else:
            (outcome.ambiguous if found else outcome.unknown).append(one)
    return people


def _candidates(written: str) -> list[tuple[str, str]]:
    """(kind, value) pairs what somebody wrote may stand for; an empty kind is any."""
    if "\x00" in written or len(written) > 254:
        return []
    candidates = [("", written)]
    try:
        if "@" in written:
            candidates.append((Identifier.Kind.EMAIL, normalise_email(written)))
        elif re.fullmatch(r"\+?[\d ()./-]{6,25}", written):
            candidates.append((Identifier.Kind.PHONE, normalise_phone(written)))
    except InvalidIdentifier:
        pass
    return candidates


# --- counts ---------------------------------------------------------------------------------------


def count_segment(segment_id: int) -> Segment:
    """Count a segment in full while somebody waits.

    Raises TooSlow when it takes longer than that somebody may wait, and has the workers count it, who may
    take longer; raises TreeError when it contains itself.
    """
    try:
        return membership.refresh(segment_id, limit_ms=web_limit())
    except TooSlow:
        Segment.objects.filter(pk=segment_id).update(due_at=None)
        ring("segments.tasks.recount_segments")
        raise


# --- shared ---------------------------------------------------------------------------------------


def _checked(segment: Segment, definition: Any) -> dict[str, Any]:
    """The definition as it is kept: well formed, naming active segments only, and never itself."""
    tree = t.parse_tree(definition)
    named = t.segments_in(tree)
    # Locked, so that none is archived while this one starts to name it.
    used = list(Segment.objects.select_for_update().filter(pk__in=named).order_by("pk"))
    if len(used) < len(named):
        raise t.TreeError.at_top(_("A segment it uses no longer exists."))
    for one in used:
        if one.archived_at and one.pk != segment.pk:
            raise t.TreeError.at_top(_("“{name}” is in the archive.").format(name=one.name))
    kept = t.dump_tree(tree)
    if segment.pk:
        as_changed = Segment.objects.with_overrides().get(pk=segment.pk)
        as_changed.definition = kept
        compiler = Compiler(now(), segments={segment.pk: as_changed})
        compiler.expression(in_segment(segment.pk))
    else:
        Compiler(now()).expression(tree)
    return kept


def _saved(segment: Segment, by: "User | None") -> Segment:
    if not segment.name:
        raise DomainError(_("A segment needs a name."))
    try:
        with transaction.atomic(), pghistory.context(user=by.pk if by else None):
            segment.save()
            ring("segments.tasks.recount_segments")
    except IntegrityError as error:
        raise DomainError(
            _("There is already a segment called “{name}”.").format(name=segment.name)
        ) from error
    return segment


def _refuse_archived(segment: Segment) -> None:
    if segment.archived_at:
        raise DomainError(_("“{name}” is in the archive.").format(name=segment.name))


def _forget_count(segment: Segment) -> None:
    """Its members stay as they are and are not relied on; the next full count tells who came and went."""
    segment.match_count, segment.reachable = None, {}
    segment.counted_at = segment.count_ms = segment.count_failed_at = segment.due_at = None


def _free_name(name: str) -> str:
    copy = _("Copy of {name}").format(name=name)[:110]
    taken = set(Segment.objects.filter(name__startswith=copy).values_list("name", flat=True))
    number, free = 1, copy
    while free in taken:
        number += 1
        free = f"{copy} {number}"
    return free
