"""Who changed what, in words: one feed over the tables the history triggers fill.

Rows are read in (time, kind, id) order, latest first, and a page ends with a position to go on from.
A row holds one side of a change; the other side is its neighbour among the rows of the same object.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cache
from typing import TYPE_CHECKING, Any

import pghistory
import pghistory.core
from django.db import connection, models
from django.utils import timezone
from django.utils.formats import date_format, time_format
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

if TYPE_CHECKING:
    from .models import User

PAGE = 50
NOTHING = "–"
NOBODY = "none"  # The filter for what OmniCRM did by itself.


@dataclass(frozen=True)
class FieldChange:
    """A field and what it said before and after; both None when that is too long to say."""

    label: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Entry:
    """One change to one thing."""

    at: datetime
    by: str  # Empty when no person did it.
    action: str
    kind: str
    name: str
    url: str
    changes: list[FieldChange]


@dataclass(frozen=True)
class Position:
    """Where a page ended: the time, kind and id of its last row."""

    at: datetime
    kind: str
    row: int

    def __str__(self) -> str:
        return f"{self.at.isoformat()}~{self.kind}~{self.row}"

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """What `str` wrote; None for anything else."""
        parts = text.split("~")
        try:
            at, row = datetime.fromisoformat(parts[0]), int(parts[2])
        except (ValueError, IndexError):
            return None
        if timezone.is_naive(at) or parts[1] not in kinds():
            return None
        return cls(at, parts[1], row)


def acting(by: User) -> AbstractContextManager[Any]:
    """Note this person beside every change made inside, also where there is no request."""
    return pghistory.context(user=by.pk)


@cache
def kinds() -> dict[str, type[models.Model]]:
    """The tables of the history by the label of what they tell of, such as `customers.customer`."""
    return {
        table.pgh_tracked_model._meta.label_lower: table  # type: ignore[attr-defined]
        for table in pghistory.core.event_models()
    }


def kind_name(kind: str) -> str:
    """What a kind of thing is called on screens."""
    name = str(kinds()[kind].pgh_tracked_model._meta.verbose_name)  # type: ignore[attr-defined]
    return name[:1].upper() + name[1:]


def read_history(
    *,
    reader: User,
    kind: str = "",
    pk: int | None = None,
    who: str = "",
    before: Position | None = None,
) -> tuple[list[Entry], Position | None]:
    """A page of changes, latest first, and where the next begins, None when this is the last.

    `kind` and `pk` narrow to a kind of thing and to one of them, `who` to a person's id or to NOBODY.
    Things the reader may open carry their address. Three queries and one per kind of thing named.
    """
    rows = _fetch([kind] if kind else list(kinds()), pk=pk, who=who, before=before)
    names = _names_of_related(rows)
    entries = [_entry(row, names, reader) for row in rows[:PAGE]]
    if len(rows) <= PAGE:
        return entries, None
    last = rows[PAGE - 1]
    return entries, Position(last["at"], last["kind"], last["row_id"])


# --- reading ------------------------------------------------------------------------------------

# The rows of one table that may be on the page, each with its neighbour: the row before it where rows
# hold what was written, the row after it (or the thing as it is now) where they hold what was replaced.
_ROWS_OF_KIND = """
(SELECT page.pgh_created_at AS at, %s AS kind, page.pgh_id AS row_id, page.pgh_label AS label,
        page.pgh_context_id AS context_id, to_jsonb(page) AS said, {neighbour} AS neighbour
 FROM (SELECT entry.* FROM {table} AS entry
       LEFT JOIN pghistory_context AS context ON context.id = entry.pgh_context_id
       WHERE {conditions}
       ORDER BY entry.pgh_created_at DESC, entry.pgh_id DESC LIMIT %s) AS page)
"""
_PREVIOUS = """(
    SELECT to_jsonb(other) FROM {table} AS other
    WHERE other.pgh_obj_id = page.pgh_obj_id AND other.pgh_id < page.pgh_id
    ORDER BY other.pgh_id DESC LIMIT 1)"""
_NEXT = """coalesce(
    (SELECT to_jsonb(other) FROM {table} AS other
     WHERE other.pgh_obj_id = page.pgh_obj_id AND other.pgh_id > page.pgh_id
     ORDER BY other.pgh_id LIMIT 1),
    (SELECT to_jsonb(now) FROM {tracked} AS now WHERE now.{key} = page.pgh_obj_id))"""
_FEED = """
SELECT feed.at, feed.kind, feed.row_id, feed.label, feed.said, feed.neighbour,
       coalesce(person.name, '') AS by
FROM ({tables}) AS feed
LEFT JOIN pghistory_context AS context ON context.id = feed.context_id
LEFT JOIN core_user AS person ON person.id = (context.metadata ->> 'user')::bigint
ORDER BY feed.at DESC, feed.kind DESC, feed.row_id DESC LIMIT %s
"""


def _fetch(wanted: list[str], *, pk: int | None, who: str, before: Position | None) -> list[dict[str, Any]]:
    """One row more than a page, if there is one."""
    selects, params = [], []
    for kind in wanted:
        sql, values = _select(kind, pk=pk, who=who, before=before)
        selects.append(sql)
        params += values
    with connection.cursor() as cursor:
        cursor.execute(_FEED.format(tables=" UNION ALL ".join(selects)), [*params, PAGE + 1])
        columns = [column.name for column in cursor.description]
        rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    for row in rows:
        row["said"] = json.loads(row["said"])
        row["neighbour"] = json.loads(row["neighbour"] or "null")
    return rows


def _select(kind: str, *, pk: int | None, who: str, before: Position | None) -> tuple[str, list[Any]]:
    table = kinds()[kind]
    conditions: list[str] = ["true"]
    values: list[Any] = []
    if pk is not None:
        conditions.append("entry.pgh_obj_id = %s")
        values.append(pk)
    if who == NOBODY:
        conditions.append("(context.metadata ->> 'user') IS NULL")
    elif who:
        conditions.append("context.metadata ->> 'user' = %s")
        values.append(who)
    if before:
        conditions.append("(entry.pgh_created_at, %s, entry.pgh_id) < (%s, %s, %s)")
        values += [kind, before.at, before.kind, before.row]
    tracked = table.pgh_tracked_model._meta  # type: ignore[attr-defined]
    neighbour = _NEXT if _keeps_what_was(table) else _PREVIOUS
    quoted = {
        "table": connection.ops.quote_name(table._meta.db_table),
        "tracked": connection.ops.quote_name(tracked.db_table),
        "key": connection.ops.quote_name(tracked.pk.column),
    }
    sql = _ROWS_OF_KIND.format(
        neighbour=neighbour.format(**quoted), conditions=" AND ".join(conditions), **quoted
    )
    return sql, [kind, *values, PAGE + 1]


@cache
def _keeps_what_was(table: type[models.Model]) -> bool:
    """Whether an update's row holds the values it replaced rather than those it wrote."""
    trackers = table.pgh_trackers or ()  # type: ignore[attr-defined]
    return any(isinstance(t, pghistory.UpdateEvent) and t.row == pghistory.Old for t in trackers)


# --- saying -------------------------------------------------------------------------------------

Names = dict[tuple[type[models.Model], Any], str]


def _names_of_related(rows: Iterable[dict[str, Any]]) -> Names:
    """What the rows' foreign keys point at, by model and key: one query per model."""
    wanted: dict[type[models.Model], set[Any]] = {}
    for row in rows:
        for field in _fields(kinds()[row["kind"]]):
            if field.is_relation:
                sides = (row["said"], row["neighbour"] or {})
                keys = {side.get(field.attname) for side in sides} - {None}
                wanted.setdefault(field.related_model, set()).update(keys)  # type: ignore[arg-type]
    return {
        (model, key): str(found)
        for model, keys in wanted.items()
        for key, found in model._base_manager.in_bulk(keys).items()
    }


def _fields(table: type[models.Model]) -> list[models.Field[Any, Any]]:
    return [f for f in table._meta.fields if not f.name.startswith("pgh_") and f.name != "id"]


def _entry(row: dict[str, Any], names: Names, reader: User) -> Entry:
    table = kinds()[row["kind"]]
    before, after = _sides(row, table)
    changes = _changes(table, before, after, names)
    return Entry(
        at=timezone.localtime(row["at"]),
        by=row["by"],
        action=_action(row["label"]),
        kind=kind_name(row["kind"]),
        changes=changes,
        **_thing(table, after or before or {}, row["said"]["pgh_obj_id"], names, reader),
    )


def _sides(row: dict[str, Any], table: type[models.Model]) -> tuple[dict[str, Any] | None, ...]:
    said, neighbour = row["said"], row["neighbour"]
    if row["label"] == "insert":
        return None, said
    if row["label"] == "delete":
        return said, None
    return (said, neighbour) if _keeps_what_was(table) else (neighbour, said)


def _action(label: str) -> str:
    known = {
        "insert": pgettext("history", "Created"),
        "update": pgettext("history", "Changed"),
        "delete": pgettext("history", "Removed"),
    }
    return known.get(label, label)


def _thing(
    table: type[models.Model], values: dict[str, Any], pk: Any, names: Names, reader: User
) -> dict[str, str]:
    """The name of the thing as it was, and its address if the reader may go there."""
    tracked = table.pgh_tracked_model  # type: ignore[attr-defined]
    fields = _fields(table)
    if tracked._meta.proxy:  # A row that ties things together is called by what it ties.
        return {
            "name": ", ".join(_say(field, values.get(field.attname), names) for field in fields),
            "url": "",
        }
    thing = tracked(pk=pk, **{field.attname: _value(field, values.get(field.attname)) for field in fields})
    may_open = reader.has_perm(f"{tracked._meta.app_label}.view_{tracked._meta.model_name}")
    has_page = may_open and hasattr(thing, "get_absolute_url")
    return {"name": str(thing), "url": thing.get_absolute_url() if has_page else ""}


def _changes(
    table: type[models.Model], before: dict[str, Any] | None, after: dict[str, Any] | None, names: Names
) -> list[FieldChange]:
    if before is None or after is None:
        return []
    found = []
    for field in _fields(table):
        old, new = before.get(field.attname), after.get(field.attname)
        if old == new:
            continue
        label = str(field.verbose_name)
        label = label[:1].upper() + label[1:]
        if isinstance(field, models.JSONField):
            found += _json_changes(label, old, new)
        else:
            found.append(FieldChange(label, _say(field, old, names), _say(field, new, names)))
    return found


def _json_changes(label: str, old: Any, new: Any) -> list[FieldChange]:
    """Key by key where all values are simple; else only that it changed."""
    old, new = old or {}, new or {}
    simple = (str, int, float, bool, type(None))
    is_flat = all(
        isinstance(side, dict) and all(isinstance(value, simple) for value in side.values())
        for side in (old, new)
    )
    if not is_flat:
        return [FieldChange(label, None, None)]
    return [
        FieldChange(f"{label}: {key}", _plain(old.get(key)), _plain(new.get(key)))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def _say(field: models.Field[Any, Any], value: Any, names: Names) -> str:
    if value is None or value == "":
        return NOTHING
    if field.is_relation:
        return names.get((field.related_model, value), NOTHING)  # type: ignore[arg-type]
    if field.choices:
        return str(dict(field.flatchoices).get(value, value))
    return _plain(_value(field, value))


def _value(field: models.Field[Any, Any], value: Any) -> Any:
    """A JSON value as the field holds it in Python."""
    return value if value is None or field.is_relation else field.to_python(value)


def _plain(value: Any) -> str:
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return _("Yes") if value else _("No")
    if isinstance(value, datetime):
        return date_format(timezone.localtime(value), "SHORT_DATETIME_FORMAT")
    if isinstance(value, date):
        return date_format(value, "SHORT_DATE_FORMAT")
    if isinstance(value, time):
        return time_format(value, "TIME_FORMAT")
    return Truncator(str(value)).chars(120)
