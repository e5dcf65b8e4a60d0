"""From a tree to one parameterised SQL statement.

Every condition that looks into another table becomes one set of customer ids, computed once, which is
LEFT JOINed to the customers; the tree itself becomes AND, OR and NOT over `set.customer_id IS NOT NULL`.
PostgreSQL turns such a join into an inner or an anti join where the condition is required or refused, a
large set spills to disk instead of being searched row by row, and since every term is TRUE or FALSE,
never NULL, NOT is exactly the complement. For one customer PostgreSQL pushes the id down into the sets.
Sets of which one suffices are united into one, so that such a choice can be an inner join as well.

Up to eight joins PostgreSQL orders by its own statistics; of more it takes the first as they stand. So
the sets a person must be in come first, the smallest leading, by the planner's own estimates.
"""
# ruff: noqa: S608 - building SQL is the point here; whatever a user wrote travels as a parameter.

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from customers.models import Customer

from . import tree as t
from .conditions import Conditions
from .models import Override, Segment
from .selectivity import estimated_rows

MAX_SETS = 150  # What one statement may join, segments inside segments included.
ORDERED_BY_POSTGRES = 7  # Sets beside the customers: PostgreSQL's join_collapse_limit is 8.


@dataclass(frozen=True)
class Compiled:
    """A statement and the parameters it needs; the names are prefixed so that they can be merged."""

    sql: str
    params: dict[str, Any]


def compile_tree(
    tree: Any,
    as_of: datetime,
    *,
    prefix: str = "seg",
    only: Sequence[int] | None = None,
    use_kept: bool = False,
) -> Compiled:
    """SELECT of the ids (column `id`, each once) of the customers the tree holds for.

    `only` asks about these customers alone. `use_kept` reads segments inside it from the members kept
    where those are as good as their rules (`Segment.is_kept`); without it every rule is asked anew, as an
    audience needs it.
    """
    narrowed = None if only is None else list(only)
    compiler = Compiler(as_of, prefix=prefix, only=narrowed, use_kept=use_kept)
    return compiler.select(compiler.expression(tree))


def audience_sql(
    include_ids: Iterable[int], exclude_ids: Iterable[int], as_of: datetime, *, prefix: str = "seg"
) -> Compiled:
    """SELECT of the ids of people in any of the include segments and in none of the exclude segments.

    No include segment means nobody. Raises TreeError when a segment is gone or contains itself.
    """
    included, excluded = [in_segment(pk) for pk in include_ids], [in_segment(pk) for pk in exclude_ids]
    compiler = Compiler(as_of, prefix=prefix)
    if not included:
        return compiler.select("false")
    tree: Any = t.AnyOf(type="any", nodes=tuple(included))
    if excluded:
        outside = t.Not(type="not", node=t.AnyOf(type="any", nodes=tuple(excluded)))
        tree = t.AllOf(type="all", nodes=(tree, outside))
    return compiler.select(compiler.expression(tree))


def in_segment(segment_id: int) -> t.InSegment:
    """The tree of the people in a segment, by rules or a list."""
    return t.InSegment(type="segment", segment=segment_id)


@dataclass
class Compiler(Conditions):
    """Collects the sets and parameters of one statement."""

    use_kept: bool = False
    sets: dict[str, str] = field(default_factory=dict)  # The SQL of a set to its alias.
    seen: dict[str, str] = field(default_factory=dict)  # A condition as JSON to its expression.
    segments: dict[int, Segment] = field(default_factory=dict)
    inside: tuple[int, ...] = ()  # The segments being compiled, outermost first.
    required: set[str] = field(default_factory=set)  # Sets everybody found must be in.
    _within: dict[str, str] = field(default_factory=dict)  # “is in the set” to the SQL of the set.
    _elsewhere: int = 0  # Sets of statements inside this one.
    _is_required: bool = True  # Whether what is compiled now must hold for the whole to hold.

    def select(self, expression: str, columns: str = "customer.id") -> Compiled:
        """The statement over everybody the expression holds for."""
        return Compiled(
            f"SELECT {columns} FROM customers_customer AS customer{self.joins(expression, columns)} "
            f"WHERE {self.exists()}{self.among('customer.id')} AND ({expression})",
            self.params,
        )

    def joins(self, *expressions: str) -> str:
        """The joins these expressions need."""
        text = " ".join(expressions)
        needed = {alias: sql for sql, alias in self.sets.items() if f"{alias}." in text}
        return "".join(
            f"\nLEFT JOIN ({needed[alias]}) AS {alias} ON {alias}.customer_id = customer.id"
            for alias in self._ordered(needed)
        )

    def _ordered(self, needed: dict[str, str]) -> list[str]:
        """The aliases, in the order in which the joins should be made."""
        if len(needed) <= ORDERED_BY_POSTGRES:
            return list(needed)
        rows = {alias: estimated_rows(sql, self.params) for alias, sql in needed.items()}
        return sorted(needed, key=lambda alias: (alias not in self.required, rows[alias]))

    def exists(self) -> str:
        """People who may be in a segment at all: neither merged nor erased, and known by then."""
        return (
            f"customer.status IN ('{Customer.Status.ANONYMOUS}', '{Customer.Status.KNOWN}') "
            f"AND customer.created_at <= {self.now()}"
        )

    def expression(self, node: Any) -> str:
        """A boolean SQL expression over the customer and the joined sets, never NULL."""
        match node:
            case t.AllOf():
                parts = [self.expression(one) for one in node.nodes]
                return " AND ".join(f"({part})" for part in parts) or "true"
            case t.AnyOf():
                return self._any(node.nodes)
            case t.Not():
                with self._not_required():
                    return f"NOT ({self.expression(node.node)})"
            case t.InSegment():
                return self._segment(node)
        key = f"{node.type}:{node.model_dump_json()}"
        if key not in self.seen:
            self.seen[key] = self.condition(node)
        return self.seen[key]

    def _any(self, nodes: Sequence[Any]) -> str:
        if len(nodes) == 1:
            return self.expression(nodes[0])
        with self._not_required():
            parts = [self.expression(one) for one in nodes]
        if all(part in self._within for part in parts):
            return self.set_of(" UNION ".join(self._within[part] for part in parts))
        return " OR ".join(f"({part})" for part in parts)

    @contextmanager
    def _not_required(self) -> Iterator[None]:
        before, self._is_required = self._is_required, False
        yield
        self._is_required = before

    def set_of(self, sql: str, *, inside: bool = True) -> str:
        if sql not in self.sets:
            if len(self.sets) + self._elsewhere >= MAX_SETS:
                raise t.TreeError.at_top(
                    _("With the segments inside it, this is more than can be asked at once.")
                )
            self.sets[sql] = f"{self.prefix}_set{len(self.sets)}"
        alias = self.sets[sql]
        expression = f"{alias}.customer_id IS {'NOT NULL' if inside else 'NULL'}"
        if inside:
            self._within[expression] = sql
            self.required |= {alias} if self._is_required else set()
        return expression

    # --- segments inside segments ----------------------------------------------------------------

    def asked_anew(self, segment_id: int) -> str:
        """Like the expression of a segment, but never read from the members kept of this one."""
        segment = self.segment(segment_id)
        return self._segment(in_segment(segment_id)) if segment.is_list else self._rules(segment)

    def _segment(self, node: t.InSegment) -> str:
        segment = self.segment(node.segment)
        if segment.is_list:
            return self.set_of(
                self._people_of("segments_listmember", segment, "added_at"), inside=node.member
            )
        if self.use_kept and segment.is_kept(self.as_of):
            return self.set_of(
                f"SELECT customer_id FROM segments_membership WHERE segment_id = {self.param(segment.pk)} "
                f"AND left_at IS NULL{self.among()}",
                inside=node.member,
            )
        if node.member:
            return self._rules(segment)
        with self._not_required():
            return f"NOT ({self._rules(segment)})"

    def _rules(self, segment: Segment) -> str:
        """Whom the rules find, without those taken out by hand and with those put in."""
        if segment.has_added:
            return self.set_of(self._rules_and_added(segment))
        path = (*self.inside, segment.pk)
        if segment.pk in self.inside:
            raise t.TreeError.at_top(self._loop(path))
        before, self.inside = self.inside, path
        expression = self.expression(t.parse_tree(segment.definition))
        self.inside = before
        if segment.has_taken_out:
            taken_out = self._people_of("segments_override", segment, "at", Override.Kind.EXCLUDE)
            return f"({expression}) AND ({self.set_of(taken_out, inside=False)})"
        return expression

    def _rules_and_added(self, segment: Segment) -> str:
        """A set of its own: “or added by hand” beside the rules would cost the planner its inner joins."""
        inner = Compiler(
            self.as_of,
            prefix=self.prefix,
            params=self.params,
            only=self.only,
            use_kept=self.use_kept,
            segments=self.segments | {segment.pk: _without_added(segment)},
            inside=self.inside,
            _elsewhere=self._elsewhere + len(self.sets),
        )
        ruled = inner.select(inner._rules(inner.segments[segment.pk]), "customer.id AS customer_id")
        self._elsewhere += len(inner.sets) + inner._elsewhere
        self.segments |= {pk: one for pk, one in inner.segments.items() if pk not in self.segments}
        added = self._people_of("segments_override", segment, "at", Override.Kind.INCLUDE)
        return f"{ruled.sql} UNION {added}"

    def _people_of(self, table: str, segment: Segment, since: str, kind: str = "") -> str:
        """Who was put on a list, or into or out of a segment, by then."""
        of_kind = f" AND kind = '{kind}'" if kind else ""
        return (
            f"SELECT customer_id FROM {table} WHERE segment_id = {self.param(segment.pk)}{of_kind} "
            f"AND {since} <= {self.now()}{self.among()}"
        )

    def segment(self, segment_id: int) -> Segment:
        """A segment the tree names, read once."""
        if segment_id not in self.segments:
            found = Segment.objects.with_overrides().filter(pk=segment_id).first()
            if found is None:
                raise t.TreeError.at_top(_("A segment it uses no longer exists."))
            self.segments[segment_id] = found
        return self.segments[segment_id]

    def _loop(self, path: tuple[int, ...]) -> str:
        names = [f"“{self.segments[pk].name}”" for pk in path[path.index(path[-1]) :]]
        return _("A segment cannot contain itself: {loop}.").format(loop=" → ".join(names))


def _without_added(segment: Segment) -> Segment:
    alone = Segment(pk=segment.pk, name=segment.name, kind=segment.kind, definition=segment.definition)
    alone.has_added, alone.has_taken_out = False, segment.has_taken_out
    return alone
