"""The signed tokens in links customers follow: short enough for a text message, for one purpose each.

A message's token is `<its id in base 36>-<seal>`; a link's is the message's with `<link>-<tag>` behind it.
The seals of a message are slices of one HMAC-SHA256 over its id, so a mail with forty links costs one: 96
bits for a purpose, 64 for the picture that tells an opening, which proves little anyway. The tag, 24 bits of
an HMAC over the link's id, is the same for everybody: it only keeps a changed link id from being another
link. Nothing in a token can be changed without the key, and no address ever travels in it.
"""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from functools import lru_cache

from django.conf import settings
from django.utils.http import base36_to_int, int_to_base36

CLICK = "click"
UNSUBSCRIBE = "unsubscribe"
OPEN = "open"
SEAL_LENGTH = 16
# Of the HMAC's 32 bytes in base 64, where three bytes are four letters.
_SLICES = {CLICK: slice(0, 16), UNSUBSCRIBE: slice(16, 32), OPEN: slice(32, 43)}


class ForgedToken(Exception):
    """The token was not made by us, or not for this purpose."""


class Seals:
    """The seals of one message."""

    __slots__ = ("_letters", "message")

    def __init__(self, message_id: int, secret: str | None = None) -> None:
        self.message = int_to_base36(message_id)
        self._letters = urlsafe_b64encode(_hmac(secret, self.message.encode())).decode()

    def __getitem__(self, purpose: str) -> str:
        return self._letters[_SLICES[purpose]]

    def token(self, purpose: str) -> str:
        """What stands in the message's address for a purpose."""
        return f"{self.message}-{self[purpose]}"


def link_part(link_id: int, secret: str | None = None) -> str:
    """The part of a click token that says which link: `<link>-<tag>`."""
    body = int_to_base36(link_id)
    tag = _hmac(secret, b"link " + body.encode())
    return f"{body}-{urlsafe_b64encode(tag[:3]).decode()}"


def sign(purpose: str, message_id: int, link_id: int | None = None) -> str:
    """A token for a message, or for one link of it."""
    return Seals(message_id).token(purpose) + ("" if link_id is None else link_part(link_id))


def read(purpose: str, token: str) -> list[int]:
    """The ids of a token of ours; raises ForgedToken. Keys retired to SECRET_KEY_FALLBACKS still open it."""
    message, _dash, rest = token.partition("-")
    link = rest[SEAL_LENGTH:].partition("-")[0]
    try:
        ids = [base36_to_int(part) for part in (message, link) if part]
    except ValueError as error:
        raise ForgedToken from error
    for secret in [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]:
        expected = "".join(
            [Seals(ids[0], secret).token(purpose), *(link_part(one, secret) for one in ids[1:])]
            if ids
            else []
        )
        if expected and hmac.compare_digest(expected.encode(), token.encode()):
            return ids
    raise ForgedToken


def _hmac(secret: str | None, text: bytes) -> bytes:
    keyed = _keyed(secret or settings.SECRET_KEY).copy()
    keyed.update(text)
    return keyed.digest()


@lru_cache(maxsize=10)
def _keyed(secret: str) -> hmac.HMAC:
    """To be copied for each text, which is quicker than to begin with the key."""
    return hmac.new(hashlib.sha256(b"campaigns.tokens" + secret.encode()).digest(), digestmod="sha256")
