"""A brand's logo: only a small PNG or JPEG, told by its bytes and not by its name."""

import struct
from typing import IO

from django.core.exceptions import ValidationError
from django.core.files.base import File
from django.utils.translation import gettext as _

MAX_BYTES = 200 * 1024
MAX_SIDE = 4000  # Pixels; a few bytes of PNG may claim to be 30,000 wide.
PNG, JPEG = "image/png", "image/jpeg"
_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_JPEG_HEAD = b"\xff\xd8\xff"


def check_logo(file: "File[bytes]") -> None:
    """Refuse what is not a PNG or JPEG of a reasonable size; raises ValidationError."""
    if file.size > MAX_BYTES:
        raise ValidationError(_("The logo is larger than 200 KB."))
    data = file.read(MAX_BYTES)
    file.seek(0)
    kind = kind_of(data)
    size = {PNG: _png_size, JPEG: _jpeg_size}[kind](data) if kind else None
    if not size:
        raise ValidationError(_("The logo must be a PNG or JPEG picture."))
    if not all(0 < side <= MAX_SIDE for side in size):
        raise ValidationError(
            _("The logo may be at most {limit} pixels wide and high.").format(limit=MAX_SIDE)
        )


def kind_of(data: bytes) -> str:
    """The media type these bytes really are, or an empty string."""
    if data.startswith(_PNG_HEAD):
        return PNG
    return JPEG if data.startswith(_JPEG_HEAD) else ""


def kind_of_file(file: IO[bytes]) -> str:
    """The media type of an open file, which is wound back."""
    head = file.read(16)
    file.seek(0)
    return kind_of(head)


def _png_size(data: bytes) -> tuple[int, int] | None:
    """Width and height stand in the first chunk (PNG specification, 11.2.1)."""
    if data[12:16] != b"IHDR" or len(data) < 24:
        return None
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height stand in the frame header, after segments that say their length (ITU-T T.81, B.2)."""
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], struct.unpack(">H", data[at + 2 : at + 4])[0]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + length
    return None
