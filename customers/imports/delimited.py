"""Text tables of any encoding and delimiter (RFC 4180, and what people call CSV), read in blocks.

Where each line of a block is a record, which is nearly always, the block is cut at once. Else its records are
read one by one, and what cannot be read as a row comes as a row with a problem, on the line it starts on.
"""

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO

from django.utils.translation import gettext as _

from .table import MAX_ROW, UNREADABLE, Dialect, Row, UnreadableFile, columns_of

SAMPLE_BYTES = 256 * 1024
BLOCK_BYTES = 256 * 1024
MAX_RECORD_LINES = 500  # A quoted cell over more lines than this is a quotation mark nobody closed.
DELIMITERS = ",;\t|"

csv.field_size_limit(16 * 1024 * 1024)  # Our own limits are stricter and name the line.


def sniff(file: BinaryIO) -> Dialect:
    """Find out how the file is written; raises UnreadableFile with a sentence for its owner."""
    file.seek(0)
    head = file.read(SAMPLE_BYTES)
    encoding = _sniff_encoding(file, head)
    text = head.decode(encoding, errors="replace")
    _refuse_control_characters(text)
    if not text.strip():
        raise UnreadableFile(_("The file is empty."))
    delimiter = _sniff_delimiter(text)
    return Dialect(encoding, delimiter, *columns_of(records(file, encoding, delimiter)))


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


def _is_cut(line: str) -> bool:
    """Whether the line goes on beyond MAX_ROW."""
    return len(line) >= MAX_ROW and not line.endswith(("\n", "\r"))


class _RecordTooLong(Exception):
    """The record being read runs over too many lines or characters."""


class _Lines:
    """The lines of a file for csv.reader, read in blocks, able to go back to the second line of a record.

    A line longer than MAX_ROW comes in pieces of that length.
    """

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        file.seek(0)
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        self._waiting: list[str] = []  # Lines read or given back, the next one last.
        self._begun = ""  # A line whose end is not read yet.
        self._ended = False
        self.record: list[str] = []  # Lines of the record being read.
        self._length = 0  # Of the record, in characters.
        self.line = 0  # Of the line read last.
        self.ran_out = False

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        if self.record and (len(self.record) >= MAX_RECORD_LINES or self.is_too_long):
            raise _RecordTooLong
        if not self._fill():
            self.ran_out = True
            raise StopIteration
        line = self._waiting.pop()
        self.line += 1
        self.record.append(line)
        self._length += len(line)
        return line

    def next_block(self) -> list[str]:
        """Every line that is read already, at least one unless the file has ended; `take` takes them."""
        self._fill()
        return self._waiting[::-1]

    def take(self, count: int) -> None:
        """Take all lines of the block."""
        self._waiting.clear()
        self.line += count

    @property
    def is_too_long(self) -> bool:
        """Whether the record being read has more characters than a row may have."""
        return self._length >= MAX_ROW

    def start_record(self) -> None:
        self.record, self._length = [], 0

    def give_back_all_but_first(self) -> str:
        """Un-read the record but for its first line, which is returned."""
        first, *rest = self.record
        self._waiting.extend(reversed(rest))
        self.line -= len(rest)
        self.start_record()
        self.ran_out = False
        return first

    def drop_rest_of_line(self) -> None:
        """Read past a line longer than MAX_ROW."""
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
            if len(text) >= MAX_ROW:
                lines, self._begun = _cut(lines, self._begun)
            self._waiting = lines[::-1]
        return bool(self._waiting)


def _cut(lines: list[str], begun: str) -> tuple[list[str], str]:
    """Lines in pieces of at most MAX_ROW; of a line that goes on, the last piece is kept."""
    pieces = [line[at : at + MAX_ROW] for line in lines for at in range(0, len(line), MAX_ROW)]
    while len(begun) > MAX_ROW:
        pieces.append(begun[:MAX_ROW])
        begun = begun[MAX_ROW:]
    return pieces, begun


def records(file: BinaryIO, encoding: str, delimiter: str) -> Iterator[Row]:
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
    if max(map(len, lines)) >= MAX_ROW:
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
            problem = _("The line is longer than {max} characters.").format(max=MAX_ROW)
        elif lines.is_too_long:
            problem = _("The row is longer than {max} characters.").format(max=MAX_ROW)
        elif lines.ran_out and lines.record:  # The file ended inside quotation marks.
            problem = _("A quotation mark is opened and never closed.")
        if problem:
            first = lines.give_back_all_but_first()
            reader = csv.reader(lines, delimiter=delimiter)
            yield Row(line, [first.rstrip("\r\n")], problem)
        else:
            yield Row(line, cells)
