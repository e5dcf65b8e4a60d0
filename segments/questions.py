"""What may be asked about a tree or a segment: how many, who, and why. Nothing is written here."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.utils.timezone import now
from django.utils.translation import gettext as _
from psycopg.errors import QueryCanceled

from core.errors import DomainError
from customers.contact import contacts_params, contacts_sql
from customers.models import Channel, Customer

from . import tree as t
from .compiler import Compiled, Compiler, compile_tree
from .models import Reach, Segment, reach_of
from .words import Names, describe

# ruff: noqa: S608 - these statements wrap SQL the compiler wrote; values travel as parameters.


class TooSlow(DomainError):
    """The question took longer than one may."""


@contextmanager
def time_limit() -> Iterator[None]:
    """Stop the statements inside after SEGMENT_TIMEOUT_MS; raises TooSlow."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('statement_timeout')")
            before = cursor.fetchone()[0]
            set_timeout = "SELECT set_config('statement_timeout', %s, true)"
            cursor.execute(set_timeout, [str(settings.SEGMENT_TIMEOUT_MS)])
            yield
            cursor.execute(set_timeout, [before])
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        raise TooSlow(
            _(
                "This takes longer than {seconds} seconds to count. Narrow it: a shorter window, "
                "fewer conditions, or a segment inside the segment."
            ).format(seconds=round(settings.SEGMENT_TIMEOUT_MS / 1000))
        ) from error


def _row(sql: str, params: dict[str, Any]) -> tuple[Any, ...]:
    with time_limit(), connection.cursor() as cursor:
        cursor.execute(sql, params)
        found: tuple[Any, ...] = cursor.fetchone()
        return found


# --- how many -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measure:
    """`reachable` is channel to number of people, `sample` the ids of the latest matches."""

    matches: int
    reachable: dict[str, int]
    sample: list[int]
    ms: int

    @property
    def reach(self) -> list[Reach]:
        return reach_of(self.reachable)


def measure(tree: Any, *, sample: int = 0) -> Measure:
    """Count a tree in one statement; reachable by the rule of customers.contact.

    Raises TreeError or TooSlow.
    """
    started = perf_counter()
    compiled = compile_tree(tree, now())
    matches, found, reachable = _row(_measure_sql(compiled), _measure_params(compiled, sample))
    by_channel = json.loads(reachable or "{}")  # Django hands jsonb of raw SQL on as text.
    counted = {channel: by_channel.get(channel, 0) for channel in Channel.values}
    return Measure(matches, counted, found or [], round((perf_counter() - started) * 1000))


def _measure_sql(compiled: Compiled) -> str:
    return f"""
        WITH matched AS MATERIALIZED ({compiled.sql}),
        contacts AS ({contacts_sql("matched")}),
        reachable AS (
            SELECT channel, count(*) AS people FROM contacts
            WHERE address IS NOT NULL AND consent = 'granted' AND suppression IS NULL GROUP BY channel)
        SELECT (SELECT count(*) FROM matched),
               (SELECT array_agg(id) FROM (
                    SELECT id FROM matched ORDER BY id DESC LIMIT %(sample_size)s) AS newest),
               (SELECT jsonb_object_agg(channel, people) FROM reachable)"""


def _measure_params(compiled: Compiled, sample: int) -> dict[str, Any]:
    return compiled.params | contacts_params(list(Channel.values)) | {"sample_size": sample}


@dataclass(frozen=True)
class Overlap:
    both: int
    only_first: int
    only_second: int


def overlap(first_id: int, second_id: int) -> Overlap:
    """How many people two segments share."""
    compiler = Compiler(now())
    first, second = (compiler.expression(in_segment(pk)) for pk in (first_id, second_id))
    columns = (
        f"count(*) FILTER (WHERE ({first}) AND ({second})), "
        f"count(*) FILTER (WHERE NOT ({second})), count(*) FILTER (WHERE NOT ({first}))"
    )
    compiled = compiler.select(f"({first}) OR ({second})", columns)
    return Overlap(*_row(compiled.sql, compiled.params))


def in_segment(segment_id: int) -> t.InSegment:
    """The tree of the people in a segment, by rules or a list."""
    return t.InSegment(type="segment", segment=segment_id)


# --- who ----------------------------------------------------------------------------------------


def member_ids(segment_id: int, *, before: int | None, limit: int) -> list[int]:
    """Ids of members, the latest first, below an id when given."""
    compiled = compile_tree(in_segment(segment_id), now())
    params = compiled.params | {"before": before, "page_size": limit}
    (found,) = _row(
        f"""SELECT array_agg(id) FROM (SELECT id FROM ({compiled.sql}) AS members
            WHERE %(before)s::bigint IS NULL OR id < %(before)s
            ORDER BY id DESC LIMIT %(page_size)s) AS page""",
        params,
    )
    return found or []


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

    def answered(self, row: Sequence[bool]) -> "Explanation":
        """The same with the answers of one row filled in."""
        parts = [part.answered(row) for part in self.parts]
        if self.column is not None:
            holds = row[self.column]
        elif self.kind == "any":
            holds = any(part.holds for part in parts)
        elif self.kind == "not":
            holds = not parts[0].holds
        else:
            holds = all(part.holds for part in parts)
        return Explanation(self.kind, self.sentence, parts, self.column, holds)

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
    shown = ", ".join(f"({expression}) AS c{n}" for n, expression in enumerate(columns)) or "true AS c0"
    # OFFSET 0 keeps the subquery whole, so that each person's id reaches the sets inside it.
    sql = f"""SELECT wanted.id, verdict.* FROM unnest(%(people)s::bigint[]) AS wanted(id)
        CROSS JOIN LATERAL (SELECT {shown} FROM customers_customer AS customer{compiler.joins()}
        WHERE customer.id = wanted.id OFFSET 0) AS verdict"""
    with time_limit(), connection.cursor() as cursor:
        cursor.execute(sql, compiler.params | {"people": list(customer_ids)})
        return {row[0]: explanation.answered(row[1:]) for row in cursor.fetchall()}


def _explanation(node: Any, compiler: Compiler, names: Names, columns: list[str]) -> Explanation:
    if isinstance(node, t.AllOf | t.AnyOf):
        parts = [_explanation(one, compiler, names, columns) for one in node.nodes]
        return Explanation(node.type, describe(node), parts)
    if isinstance(node, t.Not):
        return Explanation("not", describe(node), [_explanation(node.node, compiler, names, columns)])
    columns.append(compiler.expression(node))
    found = Explanation("condition", describe(node, names), column=len(columns) - 1)
    if isinstance(node, t.InSegment):
        found.kind = "segment"
        segment = compiler.segment(node.segment)
        if segment.kind == Segment.Kind.RULES:
            inner = t.parse_tree(segment.definition)
            found.parts = [_explanation(inner, compiler, names, columns)]
    return found


@dataclass(frozen=True)
class Membership:
    """Whether a person is in a segment, and why; `problem` when it could not be asked."""

    segment: Segment
    explanation: Explanation | None
    problem: str = ""

    @property
    def is_member(self) -> bool:
        return bool(self.explanation and self.explanation.holds)


def segments_of(customer: Customer, segments: Sequence[Segment]) -> list[Membership]:
    """Where this person is in, and why or why not: one statement for as many segments as fit into one."""
    if not segments:
        return []
    every = t.AllOf(type="all", nodes=tuple(in_segment(one.pk) for one in segments))
    try:
        answer = explain(every, customer.pk)
    except (t.TreeError, TooSlow) as problem:
        if len(segments) == 1:
            return [Membership(segments[0], None, str(problem))]
        half = len(segments) // 2
        return segments_of(customer, segments[:half]) + segments_of(customer, segments[half:])
    return [Membership(one, part) for one, part in zip(segments, answer.parts, strict=True)]


def newest(customer_ids: Sequence[int], customers: Any) -> list[Customer]:
    """These customers out of a QuerySet, in the order of the ids."""
    found = {one.pk: one for one in customers.filter(pk__in=customer_ids)}
    return [found[pk] for pk in customer_ids if pk in found]
