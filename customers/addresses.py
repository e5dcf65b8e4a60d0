"""Addresses in the one form the database keeps, and the keyed hash that stands for them."""

import hashlib
import hmac
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

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
    return _common_email(value) or _any_email(value)


def _any_email(value: str) -> str:
    try:
        checked = validate_email(value, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise InvalidIdentifier(_("“{value}” is not an e-mail address.").format(value=value)) from error
    return f"{checked.local_part}@{checked.ascii_domain or checked.domain}".lower()


# What may stand before the @ without any rule but this one applying; a longer address has limits to check.
_COMMON_EMAIL = re.compile(r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@([\w.-]+)")
_COMMON_LENGTH = 60


def _common_email(value: str) -> str:
    """What `_any_email` makes of a usual address, asking about each domain once; empty for any other."""
    found = _COMMON_EMAIL.fullmatch(value) if len(value) <= _COMMON_LENGTH else None
    if not found:
        return ""
    domain = _domain(found[1])
    return domain and f"{value[: found.start(1)]}{domain}".lower()


@lru_cache(maxsize=20_000)
def _domain(name: str) -> str:
    """A domain as addresses keep it; empty when it is none."""
    with suppress(InvalidIdentifier):
        return _any_email(f"x@{name}").partition("@")[2]
    return ""


def normalise_phone(value: str, *, country: str = "") -> str:
    """E.164: a plus sign and up to 15 digits (ITU-T E.164)."""
    country = country or settings.DEFAULT_COUNTRY
    return _common_phone(value, country) or _any_phone(value, country)


def _any_phone(value: str, country: str) -> str:
    try:
        number = phonenumbers.parse(value, country)
    except phonenumbers.NumberParseException as error:
        raise InvalidIdentifier(_("“{value}” is not a phone number.").format(value=value)) from error
    if not phonenumbers.is_possible_number(number):
        raise InvalidIdentifier(_("“{value}” is not a phone number.").format(value=value))
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


_COMMON_PHONE = re.compile(r"\+?[0-9 ()./-]+", re.ASCII)
_PUNCTUATION = str.maketrans("", "", "+ ()./-")


def _common_phone(value: str, country: str) -> str:
    """What `_any_phone` makes of a number that is only digits to the library as well: written with its
    country code, or without any prefix the country strips. Empty for any other."""
    if len(value) > 30 or not _COMMON_PHONE.fullmatch(value):
        return ""
    digits = value.translate(_PUNCTUATION)
    if value[0] == "+":
        return _international(digits)
    plan = _plan_of(country)
    if not plan:
        return ""
    if plan.dials_out.match(digits):
        is_plain = plan.dials_out.pattern == "00" and digits[2:3] != "0"
        return _international(digits[2:]) if is_plain else ""
    if digits.startswith(plan.code) or plan.strips.match(digits) or len(digits) not in plan.lengths:
        return ""
    return f"+{plan.code}{digits}"


def _international(digits: str) -> str:
    """E.164 of a number that begins with its country code, empty when more than its length is to be asked."""
    if digits.startswith("0"):
        return ""
    for end in (1, 2, 3):
        region = phonenumbers.region_code_for_country_code(int(digits[:end] or 0))
        if region != phonenumbers.phonenumberutil.UNKNOWN_REGION:
            plan = _plan_of(region)
            number = digits[end:]
            is_common = plan and not plan.strips.match(number) and len(number) in plan.lengths
            return f"+{digits}" if is_common else ""
    return ""


@dataclass(frozen=True)
class _Plan:
    """What the library knows of a country's numbers: its code, what is dialled to leave it, what may stand
    before a number without belonging to it, and how many digits the numbers of its code may have."""

    code: str
    dials_out: re.Pattern[str]
    strips: re.Pattern[str]
    lengths: frozenset[int]


@cache
def _plan_of(region: str) -> _Plan | None:
    """The plan of an ISO 3166-1 country, None when there is none."""
    if region not in phonenumbers.SUPPORTED_REGIONS:
        return None
    own: Any = phonenumbers.PhoneMetadata.metadata_for_region(region)
    main: Any = phonenumbers.PhoneMetadata.metadata_for_region(
        phonenumbers.region_code_for_country_code(own.country_code)
    )
    nothing = "(?!)"
    return _Plan(
        str(own.country_code),
        re.compile(own.international_prefix or nothing),
        re.compile(own.national_prefix_for_parsing or nothing),
        frozenset(main.general_desc.possible_length + main.general_desc.possible_length_local_only),
    )


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
    inner, outer = _padded(settings.ADDRESS_HASH_KEY.encode())
    return {"hash_inner": inner, "hash_outer": outer}


@lru_cache(maxsize=1)
def _padded(key: bytes) -> tuple[bytes, bytes]:
    if len(key) > 64:
        key = hashlib.sha256(key).digest()
    key = key.ljust(64, b"\0")
    return bytes(byte ^ 0x36 for byte in key), bytes(byte ^ 0x5C for byte in key)
