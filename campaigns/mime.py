"""A mail as it goes over the wire, from pieces made ready once per launch (RFC 5322, 2045, 2046)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.charset import QP, Charset
from email.header import Header
from email.utils import formataddr, formatdate
from functools import lru_cache
from secrets import token_hex
from typing import Any

from .lowering import Lowered

# Printable ASCII but for `,;<>`, which an envelope or a header would read as its own.
_PLAIN = re.compile(r"[!-+\--:=?-~]+@[!-+\--:=?-~]+")
_UTF8 = Charset("utf-8")
_UTF8.header_encoding = QP


class BadAddress(ValueError):
    """An address no plain SMTP server takes."""


@dataclass(frozen=True)
class Letter:
    """What is the same in every mail of a launch."""

    sender_name: str
    sender_address: str
    reply_to: str
    subject: Lowered  # Encoded as UTF-8.
    text: Lowered  # Encoded as quoted-printable, like html.
    html: Lowered


class MailWriter:
    """Writes the mails of one launch: the skeleton once, a person's values and addresses each time."""

    def __init__(self, letter: Letter) -> None:
        self._letter = letter
        boundary = f"=_{token_hex(12)}".encode()  # "=_" is nothing quoted-printable can contain.
        sender = formataddr((_encoded_words(letter.sender_name), letter.sender_address))
        reply_to = f"Reply-To: {letter.reply_to}\r\n" if letter.reply_to else ""
        part = (
            b"\r\n--" + boundary + b'\r\nContent-Type: text/%b; charset="utf-8"\r\n'
            b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        )
        self._domain = letter.sender_address.rpartition("@")[2]
        self._head = f"From: {sender}\r\n{reply_to}To: ".encode("ascii")
        self._rest = (
            b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nMIME-Version: 1.0\r\n"
            b'Content-Type: multipart/alternative; boundary="' + boundary + b'"\r\n' + part % b"plain"
        )
        self._between = part % b"html"
        self._end = b"\r\n--" + boundary + b"--\r\n"

    def write(
        self,
        *,
        message_id: str,
        to: str,
        unsubscribe_url: str,
        values: Mapping[str, Any],
        slots: Mapping[str, bytes],
        date: str = "",
    ) -> bytes:
        """The whole mail, CRLF line ends, no line beginning with a dot; raises TemplateProblem, BadAddress.

        `message_id` is the left part of the Message-ID, the same whenever this message is sent again;
        `unsubscribe_url` is offered for one click (RFC 8058).
        """
        subject = " ".join(self._letter.subject.write(values, slots).decode().split())
        headers = (
            f"{checked_address(to)}\r\nSubject: {_header(subject)}\r\nDate: {date or formatdate()}\r\n"
            f"Message-ID: <{message_id}@{self._domain}>\r\nList-Unsubscribe: <{unsubscribe_url}>\r\n"
        )
        return b"".join(
            (
                self._head,
                headers.encode("ascii"),
                self._rest,
                *self._letter.text.pieces(values, slots),
                self._between,
                *self._letter.html.pieces(values, slots),
                self._end,
            )
        )


def checked_address(address: str) -> str:
    """The address as plain SMTP takes it, its domain in ASCII; raises BadAddress.

    A local part beyond ASCII needs SMTPUTF8 (RFC 6531), which few receivers offer.
    """
    if _PLAIN.fullmatch(address):
        return address
    local, at, domain = address.rpartition("@")
    try:
        plain = f"{local}@{domain}" if domain.isascii() else f"{local}@{domain.encode('idna').decode()}"
        plain.encode("ascii")
    except UnicodeError as error:
        raise BadAddress(address) from error
    if not at or not _PLAIN.fullmatch(plain):
        raise BadAddress(address)
    return plain


@lru_cache(maxsize=4096)
def _header(text: str) -> str:
    """A Subject, folded and in encoded words where it must be (RFC 2047)."""
    if text.isascii() and len(text) < 65:
        return text
    return Header(
        text, _UTF8 if not text.isascii() else "us-ascii", maxlinelen=76, header_name="Subject"
    ).encode(linesep="\r\n")


def _encoded_words(name: str) -> str:
    """A display name in ASCII; formataddr quotes what needs quoting."""
    return name if name.isascii() else Header(name, _UTF8).encode()
