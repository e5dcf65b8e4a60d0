"""What a column may be, and the guess which it is, by its header and by what stands in it."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext as _

from core.errors import DomainError

TRAIT = "trait"  # A column kept under its own name, as it is.


@dataclass(frozen=True)
class Field:
    """Something a column can hold; `headers` lists what systems call it, in plain lower case."""

    name: str
    label: str | Promise
    headers: str
    is_key: bool = False
    is_required: bool = False
    looks_like: str = ""  # A pattern that all values of an unnamed column must match.


class BadMapping(DomainError):
    """The columns cannot be imported as they are mapped."""


def suggest_mapping(
    columns: Sequence[str], samples: Iterable[Sequence[str]], fields: Sequence[Field]
) -> dict[str, str]:
    """Column to field name for every column we recognise; no field twice."""
    rows = list(samples)
    mapping: dict[str, str] = {}
    by_header = {header: field for field in fields for header in field.headers.split(", ")}
    for column in columns:
        field = by_header.get(_plain(column))
        if field and field.name not in mapping.values():
            mapping[column] = field.name
    for index, column in enumerate(columns):
        values = [row[index].strip() for row in rows if len(row) > index and row[index].strip()]
        if column not in mapping and values:
            found = _field_by_content(values, [f for f in fields if f.name not in mapping.values()])
            if found:
                mapping[column] = found
    return mapping


def check_mapping(mapping: dict[str, str], columns: Sequence[str], fields: Sequence[Field]) -> None:
    """Raises BadMapping when a field stands twice, a column is missing or nothing names the customer."""
    names = {field.name: field for field in fields}
    for column, name in mapping.items():
        if column not in columns or (name not in names and name != TRAIT):
            raise BadMapping(_("“{column}” cannot be mapped.").format(column=column))
    for name, field in names.items():
        doubles = [column for column, chosen in mapping.items() if chosen == name]
        if len(doubles) > 1:
            raise BadMapping(
                _("{field} is chosen for more than one column: {columns}.").format(
                    field=field.label, columns=", ".join(doubles)
                )
            )
    missing = [str(f.label) for f in fields if f.is_required and f.name not in mapping.values()]
    if missing:
        raise BadMapping(_("No column is chosen for: {fields}.").format(fields=", ".join(missing)))
    keys = [field for field in fields if field.is_key]
    if not any(field.name in mapping.values() for field in keys):
        raise BadMapping(
            _("No column says who the customer is. Choose at least one of: {fields}.").format(
                fields=", ".join(str(field.label) for field in keys)
            )
        )


def _field_by_content(values: list[str], fields: list[Field]) -> str:
    for field in fields:
        if field.looks_like and all(re.fullmatch(field.looks_like, value[:300]) for value in values):
            return field.name
    return ""


def _plain(header: str) -> str:
    """A header as the lists of synonyms write it: no accents, no punctuation, lower case."""
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", header)
    bare = unicodedata.normalize("NFKD", split).encode("ascii", "ignore").decode()
    return " ".join(re.findall(r"[a-z0-9]+", bare.lower()))
