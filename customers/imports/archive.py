"""The ZIP archive a workbook is, looked at before a byte of it is expanded, and expanded within bounds.

What the directory of the archive says is checked first: how many parts, how large, how strongly compressed,
whether anything is encrypted, doubled or an archive again. It may lie: no part gives more than it declares.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _

from .table import UnreadableFile

MAX_PARTS = 5_000
MAX_DIRECTORY = 2 * 1024 * 1024  # Bytes; what lists the parts is read as a whole.
MAX_EXPANDED = 3 * 1024 * 1024 * 1024  # A million rows of thirty columns are about this.
MAX_RATIO = 200  # Sheets shrink to a tenth, monotonous ones to a fiftieth.
SMALL = 4 * 1024 * 1024  # A part that does no harm, however strongly compressed.
ARCHIVES = (".zip", ".gz", ".bz2", ".xz", ".7z", ".rar", ".tar", ".tgz", ".jar")
BLOCK_BYTES = 32 * 1024  # Rows of a block wait together, so it is small.
_END = struct.Struct("<4s4H2LH")  # End of central directory record: APPNOTE.TXT 4.3.16.
_END_SIGNATURE = b"PK\x05\x06"
_LOCATOR_SIGNATURE, _LOCATOR_SIZE = b"PK\x06\x07", 20  # 4.3.15
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError, ValueError)


@contextmanager
def opened(file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """The archive, once it is found harmless; raises UnreadableFile with a sentence for its owner."""
    _check_directory_size(file)
    file.seek(0)
    try:
        archive = zipfile.ZipFile(file)
    except BROKEN as error:
        raise UnreadableFile(damaged()) from error
    with archive:
        _check_parts(archive)
        yield archive


def blocks(archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    """The content of a part in blocks, at most as much as it declares."""
    try:
        with archive.open(name) as part:
            while block := part.read(BLOCK_BYTES):
                yield block
    except BROKEN as error:
        raise UnreadableFile(damaged()) from error


def damaged() -> str:
    return _("The workbook is damaged. Open it in your spreadsheet, save it again and bring that.")


def _too_many() -> str:
    return _("The archive has too many parts for a workbook. Save the sheet as CSV and bring that.")


def _check_directory_size(file: BinaryIO) -> None:
    """The directory at the end of the archive is read in one piece: it must not be a bomb itself."""
    size = file.seek(0, 2)
    file.seek(max(size - _END.size - 65_535, 0))
    tail = file.read()
    is_last = tail[-_END.size :].startswith(_END_SIGNATURE)
    at = len(tail) - _END.size if is_last else tail.rfind(_END_SIGNATURE)
    if at < 0 or len(tail) < at + _END.size:
        raise UnreadableFile(damaged())
    parts, directory = _END.unpack_from(tail, at)[4:6]
    # A longer directory, as archives beyond 4 GB have it, would take the place of this one.
    is_beyond = tail[: at - _LOCATOR_SIZE + 4].endswith(_LOCATOR_SIGNATURE)
    if parts > MAX_PARTS or directory > MAX_DIRECTORY or is_beyond:
        raise UnreadableFile(_too_many())


def _check_parts(archive: zipfile.ZipFile) -> None:
    parts = archive.infolist()
    names = [part.filename.lower() for part in parts]
    expanded = sum(part.file_size for part in parts)
    if len(parts) > MAX_PARTS or len(set(names)) < len(names):
        raise UnreadableFile(_too_many())
    if any(part.flag_bits & 0x1 for part in parts):
        raise UnreadableFile(_("The workbook has a password. Save it without one and bring that."))
    if any(name.endswith(ARCHIVES) for name in names):
        raise UnreadableFile(_("The archive holds other archives. Save the sheet as CSV and bring that."))
    if expanded > MAX_EXPANDED or any(_is_bomb(part) for part in parts):
        raise UnreadableFile(
            _("The workbook would expand to {size}. Save the sheet as CSV and bring that.").format(
                size=filesizeformat(expanded)
            )
        )


def _is_bomb(part: zipfile.ZipInfo) -> bool:
    return part.file_size > SMALL and part.file_size > MAX_RATIO * max(part.compress_size, 1)
