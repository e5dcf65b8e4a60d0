"""Any file with a table in it, read row by row in bounded memory."""

from collections.abc import Iterator
from typing import BinaryIO

from django.utils.translation import gettext as _

from . import delimited, workbook
from .table import Dialect, Row, UnreadableFile, below_header

__all__ = ["Dialect", "Reading", "Row", "UnreadableFile", "rows", "sniff"]

WORKBOOK = b"PK\x03\x04"
OLD_OFFICE = b"\xd0\xcf\x11\xe0"
BINARY_FORMATS = {
    b"%PDF": "PDF",
    b"\x1f\x8b": "gzip",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"7z\xbc\xaf": "7z",
    b"Rar!": "RAR",
    b"BZh": "bzip2",
}


def sniff(file: BinaryIO) -> Dialect:
    """Find out how the file is written; raises UnreadableFile with a sentence for its owner."""
    file.seek(0)
    head = file.read(512)
    if head.startswith(WORKBOOK):
        return workbook.sniff(file)
    if head.startswith(OLD_OFFICE):
        raise UnreadableFile(
            _(
                "This is a workbook of an old Excel or one with a password. "
                "Save it as .xlsx without a password, or as CSV, and bring that."
            )
        )
    for signature, name in BINARY_FORMATS.items():
        if head.startswith(signature):
            raise UnreadableFile(
                _("This is a {format} file, not a table. Save it as CSV and bring that.").format(format=name)
            )
    if not head:
        raise UnreadableFile(_("The file is empty."))
    return delimited.sniff(file)


class Reading:
    """The rows of a file below its header, and how much of the file was read for them.

    Blank lines are no rows. Holds no more of the file than a block.
    """

    def __init__(self, file: BinaryIO, dialect: Dialect) -> None:
        self._file, self._dialect = file, dialect
        self._size = file.seek(0, 2)
        self._share = 0.0

    def __iter__(self) -> Iterator[Row]:
        dialect = self._dialect
        if dialect.sheet:
            records = workbook.records(self._file, dialect.sheet, on_read=self._note)
        else:
            records = delimited.records(self._file, dialect.encoding, dialect.delimiter)
        return below_header(records, dialect)

    @property
    def read_bytes(self) -> int:
        """Of a workbook, whose parts are read here and there: as large a share of it as of its sheet."""
        return int(self._size * self._share) if self._dialect.sheet else self._file.tell()

    def _note(self, share: float) -> None:
        self._share = share


def rows(file: BinaryIO, dialect: Dialect) -> Iterator[Row]:
    """Every row below the header."""
    return iter(Reading(file, dialect))
