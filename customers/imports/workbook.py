"""A sheet of an Excel workbook (Office Open XML, ECMA-376), read row by row as it is expanded.

Cells come as the text a CSV of the sheet would have: dates as 2024-12-31, numbers without their format, what
a formula came to. Nothing is kept but the shared texts, packed and bounded, and the row being read. The XML
may declare no types and no entities, so that none can be expanded.
"""

import posixpath
import re
from array import array
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from itertools import islice
from typing import Any, BinaryIO, NamedTuple
from xml.parsers import expat
from zipfile import ZipFile

from django.utils.translation import gettext as _

from . import archive
from .table import MAX_ROW, UNREADABLE, Dialect, Row, UnreadableFile, columns_of

ENCODING = "xlsx"
MAX_SHEETS = 200
MAX_COLUMN = 16_384
MAX_TEXT = 32_767  # Characters of a cell: more than Excel allows is no cell of Excel's.
MAX_TEXTS = 160 * 1024 * 1024  # Bytes of all different texts of a workbook.
MAX_TOKEN = 8 * 1024 * 1024  # Bytes without an end of tag or text: no spreadsheet writes such XML.
MAX_STYLES = 100_000
_SPACES = (
    "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
    "http://purl.oclc.org/ooxml/spreadsheetml/main",
)
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_PLAIN_NUMBER = re.compile(r"-?\d{1,15}(?:\.0+)?")
_DATE_FORMATS = frozenset([*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)])  # 18.8.30
_NO_FORMAT = re.compile(r'"[^"]*"|\[[^\]]*\]|\\.|_.|\*.')  # Quoted, colours and conditions, escaped, padding.


class Sheet(NamedTuple):
    """A sheet of a workbook and the part of the archive it is in."""

    name: str
    part: str


class Book(NamedTuple):
    """What the sheets of a workbook share."""

    archive: ZipFile
    sheets: list[Sheet]
    texts: "Texts"
    formats: dict[str, str]  # By the number of a style: "date", or zeros to pad a number with.
    epoch: datetime


def sniff(file: BinaryIO) -> Dialect:
    """The first sheet with anything in it; raises UnreadableFile with a sentence for its owner."""
    with archive.opened(file) as opened:
        book = _open(opened)
        for sheet in book.sheets:
            with closing(_read(book, sheet, lambda _share: None)) as found:
                first = list(islice(found, 1))
            if first:
                return Dialect(ENCODING, "", *columns_of(iter(first)), sheet=sheet.name)
    raise UnreadableFile(_("The workbook is empty."))


def records(file: BinaryIO, name: str, *, on_read: Callable[[float], None]) -> Iterator[Row]:
    """The rows of a sheet that are not empty, the header among them, each with its number in the sheet.

    `on_read` is told which share of the sheet, 0 to 1, was read for what comes next.
    Raises UnreadableFile when the workbook turns out to be broken or too large.
    """
    with archive.opened(file) as opened:
        book = _open(opened)
        sheet = next((sheet for sheet in book.sheets if sheet.name == name), None)
        if sheet is None:
            raise UnreadableFile(archive.damaged())
        yield from _read(book, sheet, on_read)


def _read(book: Book, sheet: Sheet, on_read: Callable[[float], None]) -> Generator[Row]:
    handler = _SheetHandler(book)
    width = 0
    size = book.archive.getinfo(sheet.part).file_size
    for fed in _parse(book.archive, sheet.part, handler):
        on_read(fed / max(size, 1))
        for row in handler.take():
            if row.problem or any(row.cells):
                width = width or len(row.cells)
                row.cells.extend([""] * (width - len(row.cells)))
                yield row


# --- the parts of a workbook ----------------------------------------------------------------------


def _open(opened: ZipFile) -> Book:
    names = set(opened.namelist())
    if "xl/workbook.xml" not in names:
        raise UnreadableFile(_unknown(names))
    targets = _Relations()
    _parse_all(opened, "xl/_rels/workbook.xml.rels", targets)
    book = _BookHandler()
    _parse_all(opened, "xl/workbook.xml", book)
    found = [
        (is_hidden, Sheet(name, targets.of(relation)))
        for name, relation, is_hidden in book.sheets
        if targets.is_sheet(relation)
    ]
    sheets = [sheet for _hidden, sheet in sorted(found, key=lambda each: each[0])]
    formats: dict[str, str] = {}
    if styles := targets.first("/styles"):
        handler = _StylesHandler()
        _parse_all(opened, styles, handler)
        formats = handler.formats()
    epoch = datetime(1904, 1, 1) if book.is_1904 else datetime(1899, 12, 30)  # noqa: DTZ001 - on paper
    return Book(opened, sheets, Texts(opened, targets.first("/sharedStrings")), formats, epoch)


def _unknown(names: set[str]) -> str:
    if "xl/workbook.bin" in names:
        return _("This is a binary workbook (.xlsb). Save it as .xlsx or CSV and bring that.")
    if "content.xml" in names:
        return _("This is an OpenDocument file. Save the sheet as .xlsx or CSV and bring that.")
    return _("This is a ZIP archive, not a workbook. Bring the file that is in it.")


class _Handler:
    """What is done with the elements of a part; a name has its namespace and a space in front."""

    def start(self, name: str, attributes: dict[str, str]) -> None: ...
    def end(self, name: str) -> None: ...
    def characters(self, text: str) -> None: ...


def _parse(opened: ZipFile, part: str, handler: _Handler) -> Iterator[int]:
    """Feed a part to a handler, block by block. Raises UnreadableFile for XML that is broken or hostile."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = handler.start
    parser.EndElementHandler = handler.end
    parser.CharacterDataHandler = handler.characters
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = _refuse_declarations
    fed = 0
    try:
        for block in archive.blocks(opened, part):
            parser.Parse(block, False)
            fed += len(block)
            if fed - parser.CurrentByteIndex > MAX_TOKEN:
                raise UnreadableFile(archive.damaged())
            yield fed
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise UnreadableFile(archive.damaged()) from error
    yield fed


def _parse_all(opened: ZipFile, part: str, handler: _Handler) -> None:
    for _fed in _parse(opened, part, handler):
        pass


def _refuse_declarations(*_declared: Any) -> None:
    raise UnreadableFile(_("The workbook declares XML entities, which no spreadsheet does. Save it again."))


class _Relations(_Handler):
    """What the ids in a workbook stand for."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[str, str]] = {}  # Id to kind and part.

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name.endswith(" Relationship") and len(self.found) < MAX_SHEETS * 4:
            target = posixpath.normpath(posixpath.join("/xl", attributes.get("Target", "")))
            self.found[attributes.get("Id", "")] = (attributes.get("Type", ""), target.lstrip("/"))

    def of(self, relation: str) -> str:
        """The part with this id; raises KeyError."""
        return self.found[relation][1]

    def is_sheet(self, relation: str) -> bool:
        return relation in self.found and self.found[relation][0].endswith("/worksheet")

    def first(self, kind: str) -> str:
        return next((part for found, part in self.found.values() if found.endswith(kind)), "")


class _BookHandler(_Handler):
    """Names the sheets in their order, and from when dates are counted."""

    def __init__(self) -> None:
        self.sheets: list[tuple[str, str, bool]] = []  # Name, relation, whether it is hidden.
        self.is_1904 = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        element = name.rpartition(" ")[2]
        if element == "sheet" and len(self.sheets) < MAX_SHEETS:
            relation = next((value for key, value in attributes.items() if key.endswith(" id")), "")
            self.sheets.append(
                (attributes.get("name", ""), relation, attributes.get("state", "") not in ("", "visible"))
            )
        elif element == "workbookPr":
            self.is_1904 = attributes.get("date1904", "") in ("1", "true", "on")


class _StylesHandler(_Handler):
    """Which number format each style of a cell has."""

    def __init__(self) -> None:
        self.codes: dict[int, str] = {}
        self.cells: list[int] = []
        self.is_in_cells = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        element = name.rpartition(" ")[2]
        if element == "numFmt" and len(self.codes) < MAX_STYLES:
            self.codes[_number(attributes.get("numFmtId"))] = attributes.get("formatCode", "")
        elif element == "cellXfs":
            self.is_in_cells = True
        elif element == "xf" and self.is_in_cells and len(self.cells) < MAX_STYLES:
            self.cells.append(_number(attributes.get("numFmtId")))

    def end(self, name: str) -> None:
        if name.endswith(" cellXfs"):
            self.is_in_cells = False

    def formats(self) -> dict[str, str]:
        found = [_format_of(number, self.codes.get(number, "")) for number in self.cells]
        return {str(style): format for style, format in enumerate(found) if format}


def _format_of(number: int, code: str) -> str:
    """ "date" for a date or a time, the zeros of a format that pads with them, else nothing."""
    if number in _DATE_FORMATS and not code:
        return "date"
    bare = _NO_FORMAT.sub("", code.partition(";")[0]).lower()
    if "general" not in bare and re.search("[dmyhs]", bare):
        return "date"
    return bare if re.fullmatch("0{2,40}", bare) else ""


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 10 else -1


class Texts:
    """The texts cells share, read as far as one is asked for, packed into one buffer."""

    def __init__(self, opened: ZipFile, part: str) -> None:
        self._packed = bytearray()
        self._ends = array("Q", [0])
        self._handler = _TextsHandler(self._add)
        self._source = _parse(opened, part, self._handler) if part else iter(())

    def length_of(self, index: int) -> int | None:
        """How many bytes the text has, None when there is no such text."""
        while index + 1 >= len(self._ends):
            if next(self._source, None) is None:
                return None
        return self._ends[index + 1] - self._ends[index] if index >= 0 else None

    def __getitem__(self, index: int) -> str:
        """A text `length_of` has found."""
        return self._packed[self._ends[index] : self._ends[index + 1]].decode()

    def _add(self, text: str) -> None:
        self._packed += text.encode("utf-8", errors="replace")
        self._ends.append(len(self._packed))
        if len(self._packed) + 8 * len(self._ends) > MAX_TEXTS:
            raise UnreadableFile(_("The workbook holds too much text. Save the sheet as CSV and bring that."))


class _TextsHandler(_Handler):
    """Collects each shared text, its differently formatted runs joined, how it is pronounced left out."""

    def __init__(self, add: Callable[[str], None]) -> None:
        self.add = add
        self.pieces: list[str] = []
        self.length = 0
        self.is_in_text = self.is_in_pronunciation = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        element = name.rpartition(" ")[2]
        if element == "t":
            self.is_in_text = not self.is_in_pronunciation
        elif element == "rPh":
            self.is_in_pronunciation = True

    def characters(self, text: str) -> None:
        if self.is_in_text and self.length <= MAX_ROW:
            self.pieces.append(text)
            self.length += len(text)

    def end(self, name: str) -> None:
        element = name.rpartition(" ")[2]
        if element == "t":
            self.is_in_text = False
        elif element == "rPh":
            self.is_in_pronunciation = False
        elif element == "si":
            self.add(_unescaped("".join(self.pieces)))
            self.pieces.clear()
            self.length = 0


# --- cells ----------------------------------------------------------------------------------------

_ELEMENTS = {f"{space} {name}": name for space in _SPACES for name in ("row", "c", "v", "t", "f", "rPh")}


class _SheetHandler(_Handler):
    """Makes rows of a sheet's elements; `take` hands over those that are complete."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.rows: list[Row] = []
        self.row = 0
        self.column = 0
        self.cells: list[str] = []
        self.problem = ""
        self.length = 0
        self.kind = self.style = ""
        self.is_in_value = self.is_in_pronunciation = self.has_formula = self.has_value = False
        self.pieces: list[str] = []

    def take(self) -> list[Row]:
        rows, self.rows = self.rows, []
        return rows

    def start(self, name: str, attributes: dict[str, str]) -> None:
        element = _ELEMENTS.get(name)
        if element == "c":
            address = attributes.get("r", "").rstrip("0123456789")
            self.column = _column_of(address) if address else self.column + 1
            self.kind, self.style = attributes.get("t", "n"), attributes.get("s", "")
            self.has_formula = self.has_value = False
            self.pieces = []
        elif element == "v" or element == "t":
            self.is_in_value = self.has_value = not self.is_in_pronunciation
        elif element == "row":
            self.row = max(_number(attributes.get("r")), self.row + 1)
            self.column, self.cells, self.problem, self.length = 0, [], "", 0
        elif element == "f":
            self.has_formula = True
        elif element == "rPh":
            self.is_in_pronunciation = True

    def characters(self, text: str) -> None:
        if self.is_in_value and self.length <= MAX_ROW:
            self.length += len(text)
            self.pieces.append(text)

    def end(self, name: str) -> None:
        element = _ELEMENTS.get(name)
        if element == "c":
            self._end_cell()
        elif element == "v" or element == "t":
            self.is_in_value = False
        elif element == "row":
            self._end_row()
        elif element == "rPh":
            self.is_in_pronunciation = False

    def _end_cell(self) -> None:
        text = self._text()
        if not text:
            return
        if not 0 < self.column <= MAX_COLUMN:
            self.problem = archive.damaged()
            return
        self.cells.extend([""] * (self.column - len(self.cells)))
        self.cells[self.column - 1] = text

    def _end_row(self) -> None:
        if self.length > MAX_ROW:
            self.problem = _("The row is longer than {max} characters.").format(max=MAX_ROW)
        self.rows.append(Row(self.row, self.cells, self.problem))

    def _text(self) -> str:
        """The cell as a CSV would have it; what it cannot have becomes the problem of its row."""
        raw = "".join(self.pieces)
        if self.kind == "n":
            if raw:
                return _number_text(raw, self.book.formats.get(self.style, ""), self.book.epoch)
            if self.has_formula and not self.has_value:
                self._refuse(_("The formula in {cell} has no value. Open the workbook and save it again."))
        elif self.kind == "s":
            return self._shared_text(raw)
        elif self.kind == "b":
            return {"1": "true", "0": "false"}.get(raw, raw)
        elif self.kind == "e":
            self._refuse(_("{cell} holds the error {error}."), error=raw)
        else:
            return _unescaped(raw)
        return ""

    def _shared_text(self, raw: str) -> str:
        index = _number(raw)
        length = self.book.texts.length_of(index)
        if length is None:
            self._refuse(_("The text of {cell} is missing in the workbook."))
            return ""
        self.length += length
        if self.length > MAX_ROW:
            return ""  # The row is refused; many cells may share one long text.
        if length > MAX_TEXT * 4:
            self._refuse(_("{cell} is longer than {max} characters."), max=str(MAX_TEXT))
            return ""
        return self.book.texts[index]

    def _refuse(self, why: str, **details: str) -> None:
        self.problem = self.problem or why.format(cell=f"{_letters(self.column)}{self.row}", **details)


@lru_cache(maxsize=MAX_COLUMN)
def _column_of(letters: str) -> int:
    """The column BC stands for, from 1; 0 when it is none."""
    column = 0
    for letter in letters:
        if not "A" <= letter <= "Z" or column > MAX_COLUMN:
            return 0
        column = column * 26 + ord(letter) - 64
    return column


def _letters(column: int) -> str:
    letters = ""
    while column > 0:
        column, rest = divmod(column - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def _number_text(raw: str, style: str, epoch: datetime) -> str:
    """A number as a person would type it: what Excel shows of it, or the date it stands for."""
    if style == "date":
        return _date_text(raw, epoch)
    if _PLAIN_NUMBER.fullmatch(raw):
        text = raw.partition(".")[0]
    else:
        try:
            text = format(Decimal(format(float(raw), ".15g")), "f")
        except (ValueError, InvalidOperation, OverflowError):
            return raw
    return text.zfill(len(style)) if style else text


def _date_text(raw: str, epoch: datetime) -> str:
    """Days since the epoch as 2024-12-31, with the time when there is one, or the time alone."""
    try:
        days = float(raw)
        moment = epoch + timedelta(seconds=round(days * 86_400))
    except (ValueError, OverflowError):
        return raw
    if 0 <= days < 1:
        return f"{moment:%H:%M:%S}"
    return f"{moment:%Y-%m-%d}" if days.is_integer() else f"{moment:%Y-%m-%d %H:%M:%S}"


def _unescaped(text: str) -> str:
    """_x000D_ and the like as the character they stand for (22.4.2.4)."""
    return _ESCAPED.sub(_character, text) if "_x" in text else text


def _character(found: re.Match[str]) -> str:
    code = int(found[1], 16)
    return UNREADABLE if 0xD800 <= code <= 0xDFFF else chr(code)
