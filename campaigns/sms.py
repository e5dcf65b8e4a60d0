"""How a text message is counted: GSM 03.38 or UCS-2, and in how many parts.

Limits from 3GPP TS 23.038 and 23.040: 160 septets or 70 UTF-16 units in one message; with the header that
joins parts, 153 or 67 in each.
"""

from dataclasses import dataclass

import gsm0338  # noqa: F401 - registers the codec

SINGLE = {"gsm7": 160, "ucs2": 70}
JOINED = {"gsm7": 153, "ucs2": 67}


@dataclass(frozen=True)
class Size:
    """Length in the alphabet's own units, how many parts it makes and what still fits in the last."""

    encoding: str
    units: int
    parts: int
    left: int


def measure(text: str) -> Size:
    """Count a text message; an extended character (€, [, ~) takes two septets, an emoji two UCS-2 units."""
    try:
        widths = [len(character.encode("gsm03.38")) for character in text]
        encoding = "gsm7"
    except UnicodeEncodeError:
        widths = [len(character.encode("utf-16-be")) // 2 for character in text]
        encoding = "ucs2"
    units = sum(widths)
    if units <= SINGLE[encoding]:
        return Size(encoding, units, 1 if units else 0, SINGLE[encoding] - units)
    parts, left = 1, JOINED[encoding]
    for width in widths:  # A character of two units is never torn between two parts.
        if width > left:
            parts, left = parts + 1, JOINED[encoding]
        left -= width
    return Size(encoding, units, parts, left)
