"""What one cell means: dates, countries, languages, time zones, yes and no, amounts.

Each function takes the cell's text without surrounding spaces and returns the value the database keeps,
or raises BadCell with a sentence for the person who brought the file.
"""

import re
import zoneinfo
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from functools import lru_cache

from babel import Locale
from babel.core import get_global
from babel.numbers import get_currency_precision, list_currencies
from django.conf import settings
from django.db import connection
from django.utils.timezone import now
from django.utils.translation import gettext as _

from core.errors import DomainError
from customers.models import ConsentState

YES = frozenset(
    [
        "1",
        "y",
        "yes",
        "s",
        "si",
        "sì",
        "t",
        "true",
        "vero",
        "on",
        "x",
        "ok",
        "granted",
        "subscribed",
        "opt-in",
        "opted in",
        "accepted",
        "accetto",
        "iscritto",
    ]
)
NO = frozenset(
    [
        "0",
        "n",
        "no",
        "f",
        "false",
        "falso",
        "off",
        "-",
        "denied",
        "opt-out",
        "opted out",
        "never subscribed",
        "not subscribed",
        "rifiuto",
        "non iscritto",
    ]
)
WITHDRAWN = frozenset(["revoked", "withdrawn", "unsubscribed", "revocato", "ritirato", "disiscritto"])

_ISO_DATE = re.compile(r"(\d{4})([-/.]?)(\d{2})\2(\d{2})")
_EUROPEAN_DATE = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})")
_TIME = re.compile(r"(\d{1,2})[:.](\d{2})(?:[:.](\d{2})(?:[.,]\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})?")
_DIGITS_THEN_MAYBE_DECIMALS = re.compile(r"\d+(\.\d+)?")
EARLIEST_YEAR = 1900
MAX_MINOR = 10**15  # No till has seen ten thousand billion; a number this large is a slipped column.


class BadCell(DomainError):
    """The cell cannot mean what its column says."""


def text(cell: str, *, longest: int) -> str:
    """Text on one line, inner spaces single."""
    value = " ".join(cell.split())
    if len(value) > longest:
        raise BadCell(_("“{start}…” is longer than {max} characters.").format(start=value[:20], max=longest))
    if not value.isprintable():
        raise BadCell(_("“{value}” contains control characters.").format(value=_shown(value)))
    return value


def day(cell: str) -> date:
    """A date as 2024-12-31, 20241231 or 31/12/2024 (day first), with any time of day ignored."""
    return moment(cell).date()


def past_day(cell: str) -> date:
    """A date that is not in the future, such as a birthday."""
    value = day(cell)
    if value > now().date() + timedelta(days=1):
        raise BadCell(_("“{value}” lies in the future.").format(value=_shown(cell)))
    return value


def moment(cell: str) -> datetime:
    """A date with or without a time; without a zone it is local to TIME_ZONE, without a time midnight."""
    date_text, _separator, time_text = cell.replace("T", " ", 1).partition(" ")
    if found := _ISO_DATE.fullmatch(date_text):
        year, month, day_of_month = found[1], found[3], found[4]
    elif found := _EUROPEAN_DATE.fullmatch(date_text):
        year, month, day_of_month = found[4], found[3], found[1]
    else:
        raise BadCell(_("“{value}” is not a date like 2024-12-31 or 31/12/2024.").format(value=_shown(cell)))
    try:
        day_value = date(int(year), int(month), int(day_of_month))
        clock, zone = _time_of_day(time_text.strip())
    except ValueError as error:
        raise BadCell(_("“{value}” is a date that does not exist.").format(value=_shown(cell))) from error
    if day_value.year < EARLIEST_YEAR:
        raise BadCell(_("“{value}” is before {year}.").format(value=_shown(cell), year=EARLIEST_YEAR))
    return datetime.combine(day_value, clock, tzinfo=zone)


def past_moment(cell: str) -> datetime:
    """A moment that is not in the future, but for a day of leeway between time zones."""
    value = moment(cell)
    if value > now() + timedelta(days=1):
        raise BadCell(_("“{value}” lies in the future.").format(value=_shown(cell)))
    return value


def _time_of_day(cell: str) -> tuple[time, tzinfo]:
    """The time and its zone; raises ValueError for what is neither."""
    here = zoneinfo.ZoneInfo(settings.TIME_ZONE)
    if not cell:
        return time(), here
    found = _TIME.fullmatch(cell)
    if not found:
        raise ValueError(cell)
    zone: tzinfo = here
    if found[4] == "Z":
        zone = UTC
    elif found[4]:
        zone = datetime.strptime(found[4].replace(":", ""), "%z").tzinfo or UTC
    return time(int(found[1]), int(found[2]), int(found[3] or 0)), zone


def country(cell: str) -> str:
    """ISO 3166-1 alpha-2, from the code, the three-letter code or a name in a common language."""
    code = _country_codes().get(cell.casefold())
    if not code:
        raise BadCell(_("“{value}” is not a country.").format(value=_shown(cell)))
    return code


def language(cell: str) -> str:
    """ISO 639-1, from a code with or without a region, or a name in a common language."""
    key = cell.casefold()
    code = _language_codes().get(key) or _language_codes().get(re.split(r"[-_]", key)[0])
    if not code:
        raise BadCell(_("“{value}” is not a language.").format(value=_shown(cell)))
    return code


def timezone(cell: str) -> str:
    """An IANA name that Python and the database both know."""
    name = _timezones().get(cell.casefold().replace(" ", "_"))
    if not name:
        raise BadCell(_("“{value}” is not a time zone like Europe/Rome.").format(value=_shown(cell)))
    return name


def consent(cell: str) -> str:
    """A ConsentState, from the ways people write yes and no."""
    word = cell.casefold()
    if word in YES:
        return ConsentState.GRANTED.value
    if word in WITHDRAWN:
        return ConsentState.REVOKED.value
    if word in NO:
        return ConsentState.DENIED.value
    raise BadCell(_("“{value}” is neither yes nor no.").format(value=_shown(cell)))


def trait(cell: str) -> str | int | float:
    """A number where the text is one (00123 is not), else the text."""
    value = text(cell, longest=500)
    if value.isascii() and value.isdigit() and len(value) <= 15 and (value[0] != "0" or value == "0"):
        return int(value)
    if re.fullmatch(r"-?(0|[1-9]\d{0,11})\.\d{1,6}", value):
        return float(value)
    return value


def currency(cell: str) -> str:
    """ISO 4217."""
    code = cell.upper()
    if code not in _currencies():
        raise BadCell(_("“{value}” is not a currency code like EUR.").format(value=_shown(cell)))
    return code


def whole_number(cell: str) -> int:
    """A count from 0 to two billion; "2.00" is 2."""
    found = re.fullmatch(r"\+?(\d{1,10})(?:[.,]0+)?", cell)
    if not found or int(found[1]) > 2_147_483_647:
        raise BadCell(_("“{value}” is not a whole number.").format(value=_shown(cell)))
    return int(found[1])


def minor_units(cell: str, currency_code: str, *, decimal_mark: str = "") -> int:
    """An amount in minor units of its currency: "1,234.50" and "1.234,50" in EUR are 123450.

    `decimal_mark` says which of "." and "," stands before the decimals in this file; without it, an
    amount that could be read both ways ("1.234") is refused. So is a negative one: a return is no order.
    """
    bare = re.sub(rf"^{currency_code}|{currency_code}$|[\s'’€$£¥]", "", cell, flags=re.IGNORECASE)
    if bare.startswith("-") or bare.endswith("-") or (bare.startswith("(") and bare.endswith(")")):
        raise BadCell(_("“{value}” is negative.").format(value=_shown(cell)))
    plain = _with_decimal_point(bare.removeprefix("+"), cell, decimal_mark)
    if not _DIGITS_THEN_MAYBE_DECIMALS.fullmatch(plain):
        raise BadCell(_("“{value}” is not an amount.").format(value=_shown(cell)))
    exponent = get_currency_precision(currency_code)
    minor = Decimal(plain).scaleb(exponent)
    if minor != minor.to_integral_value():
        raise BadCell(
            _("“{value}” has more decimals than {currency} has.").format(
                value=_shown(cell), currency=currency_code
            )
        )
    if minor > MAX_MINOR:
        raise BadCell(_("“{value}” is too large.").format(value=_shown(cell)))
    return int(minor)


def _with_decimal_point(bare: str, cell: str, decimal_mark: str) -> str:
    """The number with a point before its decimals and nothing between its thousands."""
    if not decimal_mark:
        decimal_mark = _decimal_mark_of(bare, cell)
    thousands = "," if decimal_mark == "." else "."
    whole, _mark, decimals = bare.partition(decimal_mark)
    if thousands in whole and not re.fullmatch(r"\d{1,3}(?:[.,]\d{3})+", whole):
        raise BadCell(_("“{value}” is not an amount.").format(value=_shown(cell)))
    whole = whole.replace(thousands, "")
    return f"{whole or '0'}.{decimals}" if decimals else whole


def _decimal_mark_of(bare: str, cell: str) -> str:
    """The mark this one number uses: the last of two kinds, or the only one when it cannot be thousands."""
    last = max(bare.rfind("."), bare.rfind(","))
    if last < 0:
        return "."
    mark, other = bare[last], "," if bare[last] == "." else "."
    if other in bare:
        return mark
    if bare.count(mark) > 1:
        return other
    if re.fullmatch(r"[1-9]\d{0,2}[.,]\d{3}", bare):
        raise BadCell(
            _("“{value}” can be read in two ways; say how the file writes decimals.").format(
                value=_shown(cell)
            )
        )
    return mark


def _shown(value: str) -> str:
    """A cell as a reason quotes it: short, on one line, printable."""
    short = "".join(character if character.isprintable() else "·" for character in value[:60])
    return f"{short}…" if len(value) > 60 else short


SPEECHES = ("de", "fr", "es", "it", "en")  # Whose names for countries and languages are understood.
NO_COUNTRIES = frozenset(["EU", "EZ", "UN", "XA", "XB", "ZZ"])


@lru_cache(maxsize=1)
def _country_codes() -> dict[str, str]:
    """Casefolded names and codes to alpha-2."""
    found = _codes_by_name("territories", lambda code: code.isupper() and code not in NO_COUNTRIES)
    codes = set(found.values())
    for alias, targets in get_global("territory_aliases").items():
        if re.fullmatch("[A-Z]{3}", str(alias)) and len(list(targets)) == 1 and targets[0] in codes:
            found[str(alias).casefold()] = str(targets[0])
    found |= {"uk": "GB", "great britain": "GB", "england": "GB", "usa": "US", "u.s.a.": "US", "olanda": "NL"}
    return found


@lru_cache(maxsize=1)
def _language_codes() -> dict[str, str]:
    """Casefolded names and codes to ISO 639-1."""
    found = _codes_by_name("languages", str.islower)
    codes = set(found.values())
    for alias, target in get_global("language_aliases").items():
        if len(str(alias)) == 3 and target in codes:
            found[str(alias)] = str(target)
    return found


def _codes_by_name(section: str, is_code: Callable[[str], bool]) -> dict[str, str]:
    """Two-letter codes by themselves and by their names in the languages we understand, casefolded."""
    found: dict[str, str] = {}
    for speech in SPEECHES:
        names: dict[str, str] = dict(getattr(Locale(speech), section))
        wanted = {code: name for code, name in names.items() if re.fullmatch("[A-Za-z]{2}", code)}
        found |= {name.casefold(): code for code, name in wanted.items() if is_code(code)}
    return found | {code.casefold(): code for code in found.values()}


@lru_cache(maxsize=1)
def _timezones() -> dict[str, str]:
    """Casefolded name to name, for the zones both sides know."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_timezone_names")
        in_database = {name for (name,) in cursor.fetchall()}
    return {name.casefold(): name for name in in_database & zoneinfo.available_timezones()}


def country_codes() -> list[str]:
    """Every alpha-2 code `country` may return."""
    return sorted(set(_country_codes().values()))


def language_codes() -> list[str]:
    """Every code `language` may return."""
    return sorted(set(_language_codes().values()))


def timezone_names() -> list[str]:
    """Every name `timezone` may return, places first."""
    names = _timezones().values()
    return sorted(name for name in names if "/" in name and not name.startswith(("Etc/", "SystemV/")))


@lru_cache(maxsize=1)
def _currencies() -> frozenset[str]:
    return frozenset(list_currencies())
