"""What may be asked about a tree or a segment: how many, who, and why. Nothing is written here."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any

from django.db import connection
from django.utils.formats import date_format
from django.utils.timezone import localtime, now
from django.utils.translation import gettext as _

from customers.contact import contacts_params, contacts_sql
from customers.models import Channel, Customer

from . import follower
from . import tree as t
from .compiler import Compiled, Compiler, compile_tree, in_segment
from .limits import TooSlow, time_limit, web_limit
from .models import ListMember, Membership, Override, Reach, Segment, reach_of
from .words import Names, describe

if TYPE_CHECKING:
    from core.models import User

# ruff: noqa: S608 - these statements wrap SQL the compiler wrote; values travel as parameters.


def _row(sql: str, params: dict[str, Any]) -> tuple[Any, ...]:
    with time_limit(web_limit()), connection.cursor() as cursor:
        cursor.execute(sql, params)
        found: tuple[Any, ...] = cursor.fetchone()
        return found


def _compiled(tree: Any) -> Compiled:
    """The statement of a tree; segments in it are read from the members kept, if those are right."""
    use_kept = bool(t.segments_in(tree)) and not follower.is_behind()
    return compile_tree(tree, now(), use_kept=use_kept)


# --- how many -----------------------------------------------------------------------------------


REACH_SAMPLE = 20_000  # Of how many people it is asked whom a channel reaches, while somebody waits.


@dataclass(frozen=True)
class Measure:
    """`reachable` is channel to number of people, `sample` the ids of the latest matches.

    Of many matches `reachable` is inferred from about REACH_SAMPLE of them, and `is_reach_estimated`.
    """

    matches: int
    reachable: dict[str, int]
    sample: list[int]
    ms: int
    is_reach_estimated: bool = False

    @property
    def reach(self) -> list[Reach]:
        return reach_of(self.reachable)


def measure(tree: Any, *, sample: int = 0) -> Measure:
    """Count a tree in one statement; reachable by the rule of customers.contact.

    Segments inside it are read from the members kept, if those are right. Raises TreeError or TooSlow.
    """
    started = perf_counter()
    compiled = _compiled(tree)
    matches, found, reachable, asked = _row(_measure_sql(compiled), _measure_params(compiled, sample))
    by_channel = json.loads(reachable or "{}")  # Django hands jsonb of raw SQL on as text.
    share = matches / asked if asked else 0
    counted = {channel: round(by_channel.get(channel, 0) * share) for channel in Channel.values}
    ms = round((perf_counter() - started) * 1000)
    return Measure(matches, counted, found or [], ms, is_reach_estimated=asked < matches)


def _measure_sql(compiled: Compiled) -> str:
    """The LIMIT cuts nothing off: it tells the planner how few people `asked` are."""
    return f"""
        WITH matched AS MATERIALIZED ({compiled.sql}),
        counted AS (SELECT count(*) AS people FROM matched),
        asked AS MATERIALIZED (
            SELECT id FROM matched
            WHERE (hashint8(id) & 65535) * (SELECT people FROM counted) < 65536 * %(reach_sample)s::bigint
            LIMIT %(reach_sample)s * 2),
        contacts AS ({contacts_sql("asked")}),
        reachable AS (
            SELECT channel, count(*) AS people FROM contacts
            WHERE address IS NOT NULL AND consent = 'granted' AND suppression IS NULL GROUP BY channel)
        SELECT (SELECT people FROM counted),
               (SELECT array_agg(id) FROM (
                    SELECT id FROM matched ORDER BY id DESC LIMIT %(sample_size)s) AS newest),
               (SELECT jsonb_object_agg(channel, people) FROM reachable),
               (SELECT count(*) FROM asked)"""


def _measure_params(compiled: Compiled, sample: int) -> dict[str, Any]:
    sizes = {"sample_size": sample, "reach_sample": REACH_SAMPLE}
    return compiled.params | contacts_params(list(Channel.values)) | sizes


@dataclass(frozen=True)
class Overlap:
    both: int
    only_first: int
    only_second: int


def overlap(first_id: int, second_id: int) -> Overlap:
    """How many people two segments share."""
    compiler = Compiler(now(), use_kept=not follower.is_behind())
    first, second = (compiler.expression(in_segment(pk)) for pk in (first_id, second_id))
    columns = (
        f"count(*) FILTER (WHERE ({first}) AND ({second})), "
        f"count(*) FILTER (WHERE NOT ({second})), count(*) FILTER (WHERE NOT ({first}))"
    )
    compiled = compiler.select(f"({first}) OR ({second})", columns)
    return Overlap(*_row(compiled.sql, compiled.params))


# --- who ----------------------------------------------------------------------------------------


def member_ids(segment_id: int, *, before: int | None, limit: int) -> list[int]:
    """Ids of members, the latest customers first, below an id when given.

    Read from the members kept where those are right, at the same cost for ten of them and a million.
    """
    compiled = _compiled(in_segment(segment_id))
    (found,) = _row(
        f"""SELECT array_agg(id) FROM (SELECT id FROM ({compiled.sql}) AS members
            WHERE %(before)s::bigint IS NULL OR id < %(before)s
            ORDER BY id DESC LIMIT %(page_size)s) AS page""",
        compiled.params | {"before": before, "page_size": limit},
    )
    return found or []


def member_since(segment: Segment, customer_ids: Sequence[int]) -> dict[int, datetime]:
    """Since when these people are kept as members; those who are not are left out."""
    spells = Membership.objects.filter(segment=segment, customer__in=customer_ids, left_at=None)
    return dict(spells.values_list("customer_id", "entered_at"))


# --- why ----------------------------------------------------------------------------------------


@dataclass
class Explanation:
    """A group or a condition and whether it holds for one person.

    `kind` is 'all', 'any', 'not', 'segment' or 'condition'; `column` is where the statement that was
    asked answers it, None for groups, which follow from their parts.
    """

    kind: str
    sentence: str
    parts: list["Explanation"] = field(default_factory=list)
    column: int | None = None
    holds: bool = False
    segment: int | None = None  # The id, where the kind is 'segment'.
    note: str = ""  # What somebody decided by hand, whatever the parts say.

    def answered(self, row: Sequence[bool], notes: Mapping[int, str]) -> "Explanation":
        """The same with the answers of one row filled in; `notes` are by segment."""
        parts = [part.answered(row, notes) for part in self.parts]
        if self.column is not None:
            holds = row[self.column]
        elif self.kind == "any":
            holds = any(part.holds for part in parts)
        elif self.kind == "not":
            holds = not parts[0].holds
        else:
            holds = all(part.holds for part in parts)
        note = notes.get(self.segment, "") if self.segment else ""
        return replace(self, parts=parts, holds=holds, note=note)

    @property
    def conditions(self) -> list["Explanation"]:
        """The conditions in reading order, segments not opened."""
        if self.kind in ("segment", "condition"):
            return [self]
        return [leaf for part in self.parts for leaf in part.conditions]


def explain(tree: Any, customer_id: int) -> Explanation:
    """Why one person is in or not, condition by condition, in one statement.

    Raises TreeError or TooSlow. It does not ask whether the person is merged or erased, and so in nothing.
    """
    return explain_many(tree, [customer_id])[customer_id]


def explain_many(tree: Any, customer_ids: Sequence[int]) -> dict[int, Explanation]:
    """`explain` for some people at once, still one statement that looks only at them."""
    compiler, columns = Compiler(now()), list[str]()
    explanation = _explanation(tree, compiler, Names(), columns)
    if not customer_ids:
        return {}
    notes = _notes(compiler, customer_ids)
    shown = ", ".join(f"({expression}) AS c{n}" for n, expression in enumerate(columns)) or "true AS c0"
    # OFFSET 0 keeps the subquery whole, so that each person's id reaches the sets inside it.
    sql = f"""SELECT wanted.id, verdict.* FROM unnest(%(people)s::bigint[]) AS wanted(id)
        CROSS JOIN LATERAL (SELECT {shown} FROM customers_customer AS customer{compiler.joins(*columns)}
        WHERE customer.id = wanted.id OFFSET 0) AS verdict"""
    with time_limit(web_limit()), connection.cursor() as cursor:
        cursor.execute(sql, compiler.params | {"people": list(customer_ids)})
        return {row[0]: explanation.answered(row[1:], notes.get(row[0], {})) for row in cursor.fetchall()}


def _explanation(node: Any, compiler: Compiler, names: Names, columns: list[str]) -> Explanation:
    if isinstance(node, t.AllOf | t.AnyOf):
        parts = [_explanation(one, compiler, names, columns) for one in node.nodes]
        return Explanation(node.type, describe(node), parts)
    if isinstance(node, t.Not):
        return Explanation("not", describe(node), [_explanation(node.node, compiler, names, columns)])
    columns.append(compiler.expression(node))
    found = Explanation("condition", describe(node, names), column=len(columns) - 1)
    if isinstance(node, t.InSegment):
        found.kind, found.segment = "segment", node.segment
        segment = compiler.segment(node.segment)
        if not segment.is_list:
            inner = t.parse_tree(segment.definition)
            found.parts = [_explanation(inner, compiler, names, columns)]
    return found


def _notes(compiler: Compiler, customer_ids: Sequence[int]) -> dict[int, dict[int, str]]:
    """Person to segment to what somebody decided by hand, of the segments that were asked about."""
    people, notes = list(customer_ids), dict[int, dict[int, str]]()
    lists = [one.pk for one in compiler.segments.values() if one.is_list]
    by_hand = [one.pk for one in compiler.segments.values() if not one.is_list and _has_overrides(one)]
    said: list[tuple[ListMember | Override, str, User | None, datetime]] = []
    if lists:
        listed = ListMember.objects.filter(segment__in=lists, customer__in=people).select_related("added_by")
        said += [(one, _("Put on the list"), one.added_by, one.added_at) for one in listed]
    if by_hand:
        decisions = Override.objects.filter(segment__in=by_hand, customer__in=people).select_related("by")
        said += [(one, one.get_kind_display(), one.by, one.at) for one in decisions]
    for found, what, by, at in said:
        notes.setdefault(found.customer_id, {})[found.segment_id] = decided(what, by, at)
    return notes


def _has_overrides(segment: Segment) -> bool:
    return segment.has_added or segment.has_taken_out


def decided(what: str, by: "User | None", at: datetime) -> str:
    """“Added by hand by Giulia Ferri on 3 March 2026”."""
    day = date_format(localtime(at), "DATE_FORMAT")
    if by is None:
        return _("{what} on {day}").format(what=what, day=day)
    return _("{what} by {person} on {day}").format(what=what, person=by, day=day)


@dataclass(frozen=True)
class Verdict:
    """Whether a person is in a segment, why, and since when; `problem` when it could not be asked."""

    segment: Segment
    explanation: Explanation | None
    problem: str = ""
    since: datetime | None = None

    @property
    def is_member(self) -> bool:
        return bool(self.explanation and self.explanation.holds)


def segments_of(customer: Customer, segments: Sequence[Segment]) -> list[Verdict]:
    """Where this person is in, since when, and why or why not."""
    kept = Membership.objects.filter(customer=customer, segment__in=segments, left_at=None)
    since = dict(kept.values_list("segment_id", "entered_at"))
    return [replace(found, since=since.get(found.segment.pk)) for found in _asked(customer, segments)]


def _asked(customer: Customer, segments: Sequence[Segment]) -> list[Verdict]:
    """One statement for as many segments as fit into one."""
    if not segments:
        return []
    every = t.AllOf(type="all", nodes=tuple(in_segment(one.pk) for one in segments))
    try:
        answer = explain(every, customer.pk)
    except (t.TreeError, TooSlow) as problem:
        if len(segments) == 1:
            return [Verdict(segments[0], None, str(problem))]
        half = len(segments) // 2
        return _asked(customer, segments[:half]) + _asked(customer, segments[half:])
    return [Verdict(one, part) for one, part in zip(segments, answer.parts, strict=True)]


def newest(customer_ids: Sequence[int], customers: Any) -> list[Customer]:
    """These customers out of a QuerySet, in the order of the ids."""
    found = {one.pk: one for one in customers.filter(pk__in=customer_ids)}
    return [found[pk] for pk in customer_ids if pk in found]
