"""The builder's form: groups of rows that stand for a tree, and back.

Within a group every row holds, one group is enough, and whoever fits a group of the exclusions is left
out. The form is flat: `layout` lists in order 'include', 'exclude' (a group begins) and the keys of rows;
the fields of a row are named `<key>-<field>`.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from django.http import QueryDict
from django.utils.translation import gettext as _

from . import tree as t
from .choices import Choices
from .rows import Row, row_of, split_values

MAX_ROWS = t.MAX_CONDITIONS


@dataclass
class Group:
    """Rows that hold together; `place` is its side and position, as its buttons name it."""

    rows: list[Row] = field(default_factory=list)
    place: str = ""

    @property
    def do_add(self) -> str:
        return f"add.{self.place}"

    @property
    def do_copy(self) -> str:
        return f"copy-group.{self.place}"

    @property
    def do_remove(self) -> str:
        return f"remove-group.{self.place}"


@dataclass
class Builder:
    """What is on the form. `definition` is JSON instead of rows, for a tree rows cannot show."""

    include: list[Group] = field(default_factory=list)
    exclude: list[Group] = field(default_factory=list)
    definition: str | None = None
    problems: tuple[t.Problem, ...] = ()  # Of the whole; those of a row are with the row.
    _taken: int = 0  # Rows read from a tree so far.
    focus: str = ""  # The key of the row, or the name of the button, that takes the focus next.

    @classmethod
    def blank(cls) -> "Builder":
        """One group with one empty row."""
        return cls(include=[Group([Row("r1")])])

    @property
    def sides(self) -> list[tuple[str, list[Group]]]:
        return [("include", self.include), ("exclude", self.exclude)]

    @property
    def rows(self) -> list[Row]:
        return [row for _side, groups in self.sides for group in groups for row in group.rows]

    @property
    def has_problems(self) -> bool:
        return bool(self.problems) or any(row.problems for row in self.rows)

    @property
    def add_group_label(self) -> str:
        return _("Or: another group") if self.include else _("Add a group")

    @property
    def focuses_add_group(self) -> bool:
        return self.focus == "add-group"

    @property
    def is_full(self) -> bool:
        return len(self.rows) >= MAX_ROWS

    def draw(self, choices: Choices) -> None:
        """Set the sentence of every row and the place of every group."""
        for row in self.rows:
            row.draw(choices)
        for side, groups in self.sides:
            for number, group in enumerate(groups):
                group.place = f"{side}.{number}"

    # --- reading -----------------------------------------------------------------------------

    @classmethod
    def from_post(cls, post: QueryDict) -> "Builder":
        """The form as sent; what is malformed is dropped, what is unknown stays for the rows to refuse."""
        if "definition" in post:
            return cls(definition=str(post["definition"]))
        builder, rows = cls(), dict[str, Row]()
        current: Group | None = None
        for piece in post.getlist("layout")[: MAX_ROWS * 3]:
            if piece in ("include", "exclude"):
                current = Group()
                builder._side(piece).append(current)
            elif current is not None and re.fullmatch("r[0-9]{1,6}", piece) and piece not in rows:
                rows[piece] = Row(piece)
                current.rows.append(rows[piece])
        for name in post:
            key, separator, part = name.partition("-")
            if separator and key in rows:
                rows[key].data[part] = _read(part, post.getlist(name))
        for row in rows.values():
            row.forget_if_changed()
        return builder

    @classmethod
    def from_definition(cls, definition: dict[str, Any]) -> "Builder":
        """A stored tree as rows, or as JSON when it is deeper than rows can show."""
        tree = t.parse_tree(definition)
        builder = cls()
        try:
            builder._take(tree)
        except _NotRows:
            return cls(definition=json.dumps(definition, indent=2, ensure_ascii=False))
        return builder

    def _take(self, tree: Any) -> None:
        nodes = tree.nodes if isinstance(tree, t.AllOf) else (tree,)
        wanted = [node for node in nodes if not isinstance(node, t.Not)]
        if len(wanted) == 1:
            self.include = self._groups(wanted[0])
        elif wanted:
            self.include = [Group([self._row(node) for node in wanted])]
        for node in nodes:
            if isinstance(node, t.Not):
                self.exclude += self._groups(node.node)

    def _groups(self, node: Any) -> list[Group]:
        alternatives = node.nodes if isinstance(node, t.AnyOf) else (node,)
        return [
            Group([self._row(one) for one in (part.nodes if isinstance(part, t.AllOf) else (part,))])
            for part in alternatives
        ]

    def _row(self, node: Any) -> Row:
        self._taken += 1
        row = None if isinstance(node, t.AllOf | t.AnyOf | t.Not) else row_of(f"r{self._taken}", node)
        if row is None:
            raise _NotRows
        return row

    def tree(self) -> Any:
        """The tree of the form. Raises TreeError; what concerns a row is noted with the row."""
        try:
            return t.parse_tree(self._json() if self.definition is not None else self._from_rows())
        except t.TreeError as error:
            if not any(row.problems for row in self.rows):
                self.problems = error.problems
            raise

    def kept(self) -> dict[str, Any]:
        """The tree as it is kept. Raises TreeError like `tree`."""
        return t.dump_tree(self.tree())

    def _json(self) -> Any:
        try:
            return json.loads(self.definition or "")
        except (ValueError, RecursionError) as error:
            raise t.TreeError.at_top(_("The definition is not JSON.")) from error

    def _from_rows(self) -> dict[str, Any]:
        if not self.rows:
            raise t.TreeError.at_top(_("Add at least one condition."))
        for row in self.rows:
            self._check(row)
        problems = [problem for row in self.rows for problem in row.problems]
        if problems:
            raise t.TreeError(*problems)
        include, exclude = (_alternatives(groups) for _side, groups in self.sides)
        nodes = include["nodes"] if include and include["type"] == "all" else [include] if include else []
        if exclude:
            nodes = [*nodes, {"type": "not", "node": exclude}]
        return {"type": "all", "nodes": nodes}

    @staticmethod
    def _check(row: Row) -> None:
        try:
            t.parse_tree(row.definition())
            row.problems = ()
        except t.TreeError as error:
            row.problems = error.problems

    # --- changing ----------------------------------------------------------------------------

    def apply(self, command: str) -> None:
        """Carry out a button: 'add.include.0', 'copy.r2', 'remove.r2', 'add-group.exclude',
        'copy-group.include.0', 'remove-group.include.0', 'filter.r2', 'unfilter.r2', 'refresh'.
        What does not exist any more changes nothing."""
        verb, *rest = command.split(".")
        if verb in ("copy", "remove", "filter", "unfilter") and rest:
            self._change_row(verb, rest[0])
        elif verb == "add-group" and rest and not self.is_full:
            self._side(rest[0]).append(Group([self._new_row({})]))
        elif (
            verb in ("add", "copy-group", "remove-group")
            and len(rest) == 2
            and re.fullmatch("[0-9]{1,3}", rest[1])
        ):
            groups = self._side(rest[0])
            if int(rest[1]) < len(groups):
                self._change_group(verb, groups, int(rest[1]))
        if not self.include and not self.exclude:
            self.include = [Group([self._new_row({})])]

    def _side(self, name: str) -> list[Group]:
        return self.exclude if name == "exclude" else self.include

    def _new_row(self, data: dict[str, Any]) -> Row:
        number = max((int(row.key[1:]) for row in self.rows), default=0) + 1
        self.focus = f"r{number}"
        return Row(self.focus, dict(data))

    def _change_group(self, verb: str, groups: list[Group], index: int) -> None:
        if verb == "remove-group":
            del groups[index]
            self.focus = "add-group"
        elif verb == "add" and not self.is_full:
            groups[index].rows.append(self._new_row({}))
        elif verb == "copy-group" and len(self.rows) + len(groups[index].rows) <= MAX_ROWS:
            copy = Group()
            groups.insert(index + 1, copy)
            for row in groups[index].rows:
                copy.rows.append(self._new_row(row.data))

    def _change_row(self, verb: str, key: str) -> None:
        for _side, groups in self.sides:
            for group in groups:
                for index, row in enumerate(group.rows):
                    if row.key != key:
                        continue
                    self._change_found(verb, groups, group, index)
                    return

    def _change_found(self, verb: str, groups: list[Group], group: Group, index: int) -> None:
        row = group.rows[index]
        if verb == "copy" and not self.is_full:
            group.rows.insert(index + 1, self._new_row(row.data))
        elif verb == "remove":
            del group.rows[index]
            if not group.rows:
                groups.remove(group)
            self.focus = group.rows[max(index - 1, 0)].key if group.rows else "add-group"
        elif verb == "filter" and row.may_add_filter:
            row.data["filters"] = str(row.filter_count + 1)
            self.focus = f"{row.key}-f{row.filter_count - 1}_key"
        elif verb == "unfilter" and row.filter_count:
            row.data["filters"] = str(row.filter_count - 1)
            self.focus = row.key


class _NotRows(Exception):
    """The tree is deeper than groups of rows."""


def _read(part: str, sent: list[str]) -> Any:
    """Ticked values come one by one, written ones separated by commas."""
    if part != "values":
        return sent[-1]
    return split_values(sent[0]) if len(sent) == 1 else [one.strip() for one in sent if one.strip()]


def _alternatives(groups: list[Group]) -> dict[str, Any] | None:
    parts: list[dict[str, Any]] = []
    for group in groups:
        rows = [row.definition() for row in group.rows]
        if rows:
            parts.append(rows[0] if len(rows) == 1 else {"type": "all", "nodes": rows})
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else {"type": "any", "nodes": parts}
