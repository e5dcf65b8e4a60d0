"""Addresses in the one form the database keeps, and the keyed hash that stands for them."""

import hashlib
import hmac
from contextlib import suppress

import phonenumbers
from django.conf import settings
from django.utils.translation import gettext as _
from email_validator import EmailNotValidError, validate_email

from core.errors import DomainError

from .models import Identifier

# What broken systems write where an identifier should stand; merging on these would join strangers.
JUNK = frozenset(
    {"", "0", "-1", "null", "none", "nil", "nan", "undefined", "unknown", "anonymous", "guest", "n/a", "na"}
    | {"test", "true", "false", "[object object]", "00000000-0000-0000-0000-000000000000"}
)


class InvalidIdentifier(DomainError):
    """The value cannot point at a person."""


def normalise_identifier(kind: str, value: str, *, country: str = "") -> str:
    """The value as `Identifier.value` keeps it.

    `country` (ISO 3166-1 alpha-2) reads phone numbers written without a prefix. Raises InvalidIdentifier
    with a sentence for the person who brought it.
    """
    value = value.strip()
    if value.lower() in JUNK:
        raise InvalidIdentifier(_("“{value}” is not an identifier.").format(value=value))
    if kind == Identifier.Kind.EMAIL:
        return normalise_email(value)
    if kind == Identifier.Kind.PHONE:
        return normalise_phone(value, country=country)
    if len(value) > 254:
        raise InvalidIdentifier(_("An identifier has at most 254 characters."))
    return value


def normalise_email(value: str) -> str:
    """Lower-case, with an internationalised domain in ASCII. Syntax only: no network is asked."""
    try:
        checked = validate_email(value, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise InvalidIdentifier(_("“{value}” is not an e-mail address.").format(value=value)) from error
    return f"{checked.local_part}@{checked.ascii_domain or checked.domain}".lower()


def normalise_phone(value: str, *, country: str = "") -> str:
    """E.164: a plus sign and up to 15 digits (ITU-T E.164)."""
    try:
        number = phonenumbers.parse(value, country or settings.DEFAULT_COUNTRY)
    except phonenumbers.NumberParseException as error:
        raise InvalidIdentifier(_("“{value}” is not a phone number.").format(value=value)) from error
    if not phonenumbers.is_possible_number(number):
        raise InvalidIdentifier(_("“{value}” is not a phone number.").format(value=value))
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def spellings(value: str) -> list[str]:
    """How the database may keep what somebody typed as an identifier: as it is, as e-mail, as phone."""
    found = {value.strip()}
    for normalise in (normalise_email, normalise_phone):
        with suppress(InvalidIdentifier):
            found.add(normalise(value))
    return sorted(found)


def address_hash(address: str) -> bytes:
    """HMAC-SHA256 of a normalised address under ADDRESS_HASH_KEY: 32 bytes."""
    return hmac.digest(settings.ADDRESS_HASH_KEY.encode(), address.encode(), "sha256")


def address_hash_sql(column: str) -> str:
    """SQL for the same hash of a column; needs `address_hash_params()`. HMAC as RFC 2104 defines it,
    since sha256() is built into PostgreSQL and hmac() is not."""
    return f"sha256(%(hash_outer)s::bytea || sha256(%(hash_inner)s::bytea || convert_to({column}, 'UTF8')))"


def address_hash_params() -> dict[str, bytes]:
    """The key as RFC 2104 pads it, for `address_hash_sql`."""
    key = settings.ADDRESS_HASH_KEY.encode()
    if len(key) > 64:
        key = hashlib.sha256(key).digest()
    key = key.ljust(64, b"\0")
    return {
        "hash_inner": bytes(byte ^ 0x36 for byte in key),
        "hash_outer": bytes(byte ^ 0x5C for byte in key),
    }
