"""Any table a person may call a CSV file, read row by row in constant memory.

The sniff finds the encoding, the delimiter and whether there is a header. Rows come with the line they
start on, and what cannot be read as a row comes as a row with a problem, so that every row is accounted for.
"""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, NamedTuple

from django.utils.translation import gettext as _

from core.errors import DomainError

SAMPLE_BYTES = 256 * 1024
BLOCK_BYTES = 256 * 1024
MAX_LINE = 1024 * 1024  # Characters; a longer line is refused as one row.
MAX_RECORD_LINES = 500  # A quoted cell over more lines than this is a quotation mark nobody closed.
MAX_COLUMNS = 500
DELIMITERS = ",;\t|"
BINARY_FORMATS = {
    b"PK\x03\x04": "Excel or ZIP",
    b"\xd0\xcf\x11\xe0": "Excel",
    b"%PDF": "PDF",
    b"\x1f\x8b": "gzip",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
}
UNREADABLE = "\ufffd"  # What decoding puts where bytes make no character.
_LOOKS_LIKE_DATA = re.compile(r"[^@\s]+@[^@\s]+\.\w+|\+?[\d\s./:-]*\d[\d\s./:-]*")

csv.field_size_limit(16 * 1024 * 1024)  # Our own limits are stricter and name the line.


class UnreadableFile(DomainError):
    """The file as a whole is no table we can read; the message says why."""


@dataclass(frozen=True)
class Dialect:
    """How a file is written, and its columns: kept with the job as JSON."""

    encoding: str
    delimiter: str
    has_header: bool
    columns: tuple[str, ...]

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


def sniff(file: BinaryIO) -> Dialect:
    """Find out how the file is written; raises UnreadableFile with a sentence for its owner."""
    file.seek(0)
    head = file.read(SAMPLE_BYTES)
    _refuse_what_is_no_text(head)
    encoding = _sniff_encoding(file, head)
    text = head.decode(encoding, errors="replace")
    _refuse_control_characters(text)
    if not text.strip():
        raise UnreadableFile(_("The file is empty."))
    delimiter = _sniff_delimiter(text)
    first = next((row for row in _records(file, encoding, delimiter) if any(row.cells)), None)
    if first is None or first.problem:
        raise UnreadableFile(_("The first line cannot be read as a row of column names."))
    if len(first.cells) > MAX_COLUMNS:
        raise UnreadableFile(_("The file has more than {max} columns.").format(max=MAX_COLUMNS))
    has_header = not any(_LOOKS_LIKE_DATA.fullmatch(cell.strip()[:100]) for cell in first.cells)
    return Dialect(encoding, delimiter, has_header, _name_columns(first.cells, has_header))


def rows(file: BinaryIO, dialect: Dialect) -> Iterator[Row]:
    """Every row below the header; blank lines are no rows. Holds no more of the file than a block."""
    header_pending = dialect.has_header
    width = len(dialect.columns)
    for row in _records(file, dialect.encoding, dialect.delimiter):
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


def _refuse_what_is_no_text(head: bytes) -> None:
    for signature, name in BINARY_FORMATS.items():
        if head.startswith(signature):
            raise UnreadableFile(
                _("This is a {format} file, not CSV. Save it as CSV and bring that.").format(format=name)
            )
    if not head:
        raise UnreadableFile(_("The file is empty."))


def _sniff_encoding(file: BinaryIO, head: bytes) -> str:
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > len(head) // 5 and even < len(head) // 50:
        return "utf-16-le"
    if even > len(head) // 5 and odd < len(head) // 50:
        return "utf-16-be"
    return "utf-8" if _is_mostly_utf8(file) else "cp1252"


def _refuse_control_characters(text: str) -> None:
    """A few may be a broken row; many are no text."""
    controls = sum(text.count(chr(code)) for code in range(32) if chr(code) not in "\t\n\r\f")
    if controls > max(8, len(text) // 20):
        raise UnreadableFile(_("This is not a text file. Save the table as CSV and bring that."))


def _is_mostly_utf8(file: BinaryIO) -> bool:
    """Whether the characters beyond ASCII are UTF-8, but for single broken rows. Reads the whole file:
    the first accent may stand anywhere."""
    file.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    valid = broken = 0
    while block := file.read(1024 * 1024):
        text = decoder.decode(block)
        if not text.isascii():
            beyond = len(text) - len(text.encode("ascii", errors="ignore"))
            unreadable = text.count(UNREADABLE)
            valid, broken = valid + beyond - unreadable, broken + unreadable
    return broken <= valid // 2


def _sniff_delimiter(text: str) -> str:
    """The delimiter that cuts the first rows into the most columns, most evenly; a comma when none does."""
    lines = text.splitlines(keepends=True)[:30]
    best, best_score = ",", 0.0
    for delimiter in DELIMITERS:
        widths = [len(cells) for cells in csv.reader(lines, delimiter=delimiter) if cells]
        if not widths:
            continue
        width, times = Counter(widths).most_common(1)[0]
        if width == 1:
            width = widths[0]  # One ragged row must not hide the header's columns.
            times = widths.count(width)
        score = (width - 1) * times / len(widths)
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _name_columns(cells: list[str], has_header: bool) -> tuple[str, ...]:
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


def _is_cut(line: str) -> bool:
    """Whether the line goes on beyond MAX_LINE."""
    return len(line) >= MAX_LINE and not line.endswith(("\n", "\r"))


class _RecordTooLong(Exception):
    """The record being read runs over too many lines."""


class _Lines:
    """The lines of a file for csv.reader, read in blocks, able to go back to the second line of a record.

    A line longer than MAX_LINE comes in pieces of that length.
    """

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        file.seek(0)
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        self._waiting: list[str] = []  # Lines read or given back, the next one last.
        self._begun = ""  # A line whose end is not read yet.
        self._ended = False
        self.record: list[str] = []  # Lines of the record being read.
        self.line = 0  # Of the line read last.
        self.ran_out = False

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        if self.record and (len(self.record) >= MAX_RECORD_LINES or _is_cut(self.record[-1])):
            raise _RecordTooLong
        if not self._fill():
            self.ran_out = True
            raise StopIteration
        line = self._waiting.pop()
        self.line += 1
        self.record.append(line)
        return line

    def next_block(self) -> list[str]:
        """Every line that is read already, at least one unless the file has ended; `take` takes them."""
        self._fill()
        return self._waiting[::-1]

    def take(self, count: int) -> None:
        """Take all lines of the block."""
        self._waiting.clear()
        self.line += count

    def start_record(self) -> None:
        self.record = []

    def give_back_all_but_first(self) -> str:
        """Un-read the record but for its first line, which is returned."""
        first, *rest = self.record
        self._waiting.extend(reversed(rest))
        self.line -= len(rest)
        self.record = []
        self.ran_out = False
        return first

    def drop_rest_of_line(self) -> None:
        """Read past a line longer than MAX_LINE."""
        while self._fill() and not self._waiting.pop().endswith(("\n", "\r")):
            pass

    def _fill(self) -> bool:
        """Have a line waiting; False when the file has no more."""
        while not self._waiting and not self._ended:
            block = self._file.read(BLOCK_BYTES)
            self._ended = not block
            text = self._begun + self._decoder.decode(block, final=self._ended)
            lines = list(io.StringIO(text, newline=""))  # Any line end, kept as it is.
            # What may go on in the next block: a line without an end, or with half of one.
            is_open = lines and not self._ended and not lines[-1].endswith("\n")
            self._begun = lines.pop() if is_open else ""
            if len(text) >= MAX_LINE:
                lines, self._begun = _cut(lines, self._begun)
            self._waiting = lines[::-1]
        return bool(self._waiting)


def _cut(lines: list[str], begun: str) -> tuple[list[str], str]:
    """Lines in pieces of at most MAX_LINE; of a line that goes on, the last piece is kept."""
    pieces = [line[at : at + MAX_LINE] for line in lines for at in range(0, len(line), MAX_LINE)]
    while len(begun) > MAX_LINE:
        pieces.append(begun[:MAX_LINE])
        begun = begun[MAX_LINE:]
    return pieces, begun


def _records(file: BinaryIO, encoding: str, delimiter: str) -> Iterator[Row]:
    """All records of the file, the header among them, the malformed with their problem."""
    lines = _Lines(file, encoding)
    while block := lines.next_block():
        line = lines.line + 1
        found = _one_record_a_line(block, delimiter)
        if found is None:
            yield from _parse(lines, delimiter, until=line + len(block))
        else:
            lines.take(len(block))
            yield from map(Row, range(line, line + len(block)), found)


def _one_record_a_line(lines: list[str], delimiter: str) -> list[list[str]] | None:
    """The records of a block of lines if each line is one and nothing is wrong with any; else None."""
    if max(map(len, lines)) >= MAX_LINE:
        return None
    try:
        # The empty line is a record too, unless the line before it left a quotation mark open.
        records = list(csv.reader([*lines, "\n"], delimiter=delimiter))
    except csv.Error:
        return None
    return records[:-1] if len(records) == len(lines) + 1 and not records[-1] else None


def _parse(lines: _Lines, delimiter: str, *, until: int) -> Iterator[Row]:
    """The records that start before line `until`, one by one, with what is wrong with each."""
    reader = csv.reader(lines, delimiter=delimiter)
    while lines.line + 1 < until:
        lines.start_record()
        line = lines.line + 1
        problem, cells = "", []
        try:
            cells = next(reader)
        except StopIteration:
            return
        except _RecordTooLong:
            problem = _("A quotation mark is opened and never closed.")
        except csv.Error as error:
            problem = _("The row is not CSV: {error}.").format(error=error)
        if _is_cut(lines.record[0]):
            lines.drop_rest_of_line()
            problem = _("The line is longer than {max} characters.").format(max=MAX_LINE)
        elif lines.ran_out and lines.record:  # The file ended inside quotation marks.
            problem = _("A quotation mark is opened and never closed.")
        if problem:
            first = lines.give_back_all_but_first()
            reader = csv.reader(lines, delimiter=delimiter)
            yield Row(line, [first.rstrip("\r\n")], problem)
        else:
            yield Row(line, cells)
