"""The signed tokens in links customers follow: short enough for a text message, for one purpose each.

A token is `<ids in base 36>-<16 characters>`: an HMAC-SHA256 over purpose and ids, cut to 96 bits. Nothing
in it can be changed without the key, and no address ever travels in it.
"""

import hmac
from base64 import urlsafe_b64encode

from django.conf import settings
from django.utils.crypto import salted_hmac
from django.utils.http import base36_to_int, int_to_base36

CLICK = "campaigns.click"
UNSUBSCRIBE = "campaigns.unsubscribe"


class ForgedToken(Exception):
    """The token was not made by us, or not for this purpose."""


def sign(purpose: str, *ids: int) -> str:
    """A token for these ids."""
    body = "-".join(int_to_base36(number) for number in ids)
    return f"{body}-{_seal(purpose, body, settings.SECRET_KEY)}"


def read(purpose: str, token: str) -> list[int]:
    """The ids of a token of ours; raises ForgedToken. Keys retired to SECRET_KEY_FALLBACKS still open it."""
    body, dash, seal = token[:-17], token[-17:-16], token[-16:]
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    if dash != "-" or not any(
        hmac.compare_digest(seal.encode(), _seal(purpose, body, key).encode()) for key in keys
    ):
        raise ForgedToken
    return [base36_to_int(part) for part in body.split("-")]


def _seal(purpose: str, body: str, key: str) -> str:
    digest = salted_hmac(purpose, body, secret=key, algorithm="sha256").digest()
    return urlsafe_b64encode(digest[:12]).decode()
