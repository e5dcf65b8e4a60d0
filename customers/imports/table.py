"""What every readable file comes down to: columns with names, and rows with the line they stand on."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from core.errors import DomainError

MAX_ROW = 1024 * 1024  # Characters; a longer row is refused.
MAX_COLUMNS = 500
UNREADABLE = "\ufffd"  # What decoding puts where bytes make no character.
_LOOKS_LIKE_DATA = re.compile(r"[^@\s]+@[^@\s]+\.\w+|\+?[\d\s./:-]*\d[\d\s./:-]*")


class UnreadableFile(DomainError):
    """The file as a whole is no table we can read; the message says why."""


@dataclass(frozen=True)
class Dialect:
    """How a file is written, and its columns: kept with the job as JSON. Only a workbook has a sheet."""

    encoding: str
    delimiter: str
    has_header: bool
    columns: tuple[str, ...]
    sheet: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"columns": list(self.columns)}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Dialect":
        return cls(**(stored | {"columns": tuple(stored["columns"])}))


class Row(NamedTuple):
    """One record: the line it starts on (the header being 1), its cells, and why it cannot be used."""

    line: int
    cells: list[str]
    problem: str = ""


def columns_of(records: Iterator[Row]) -> tuple[bool, tuple[str, ...]]:
    """Whether the first record that is not empty is a header, and the names of the columns.

    Raises UnreadableFile when there is none or it is no row.
    """
    first = next((row for row in records if any(row.cells)), None)
    if first is None:
        raise UnreadableFile(_("The file is empty."))
    if first.problem:
        raise UnreadableFile(_("The first line cannot be read as a row of column names."))
    if len(first.cells) > MAX_COLUMNS:
        raise UnreadableFile(_("The file has more than {max} columns.").format(max=MAX_COLUMNS))
    has_header = not any(_LOOKS_LIKE_DATA.fullmatch(cell.strip()[:100]) for cell in first.cells)
    return has_header, _name_columns(first.cells, has_header)


def below_header(records: Iterator[Row], dialect: Dialect) -> Iterator[Row]:
    """The records that are rows, each with what is wrong with its shape or its characters."""
    header_pending = dialect.has_header
    width = len(dialect.columns)
    for row in records:
        if header_pending and any(row.cells):
            header_pending = False
        elif not header_pending and row.cells:
            yield _checked(row, width)


def _checked(row: Row, width: int) -> Row:
    """The row with what is wrong with its shape or its characters."""
    if row.problem:
        return row
    cells = row.cells
    while len(cells) > width and not cells[-1].strip():
        cells.pop()  # Spreadsheets pad rows with empty cells.
    joined = "".join(cells)
    if not joined.strip():
        problem = _("The row is empty.")
    elif len(cells) != width:
        problem = _("The row has {found} cells, the header has {expected}.").format(
            found=len(cells), expected=width
        )
    elif "\0" in joined:
        problem = _("The row contains a NUL character.")
    elif UNREADABLE in joined:
        problem = _("The row contains characters that are not readable in the file's encoding.")
    else:
        return row
    return Row(row.line, cells, problem)


def _name_columns(cells: Sequence[str], has_header: bool) -> tuple[str, ...]:
    """A name for each column, all different: "Column 3" where there is none, "email (2)" for a double."""
    while has_header and len(cells) > 1 and not cells[-1].strip():
        cells = cells[:-1]
    names: list[str] = []
    for index, cell in enumerate(cells, start=1):
        name = " ".join(cell.replace("\0", "").split())[:100] if has_header else ""
        name = name or _("Column {number}").format(number=index)
        double, base = 2, name
        while name in names:
            name, double = f"{base} ({double})", double + 1
        names.append(name)
    return tuple(names)
