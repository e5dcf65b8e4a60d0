"""What a row of a customer file says, checked and normalised, ready to be applied.

A row with one bad cell is refused whole, with the column and the reason: somebody mends it and brings it
again. Taking the rest of the row would leave a customer half known and nobody the wiser.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.errors import DomainError
from customers.addresses import normalise_identifier
from customers.models import Channel, Identifier, Purpose
from inventory.models import Store

from . import cells
from .fields import TRAIT, Field
from .reader import Row

# The order in which identifiers are asked who a row is about.
KEYS: tuple[str, ...] = (
    Identifier.Kind.USER_ID,
    Identifier.Kind.EMAIL,
    Identifier.Kind.PHONE,
    Identifier.Kind.CARD,
)
KEY_FIELDS = (
    Field(
        "user_id",
        gettext_lazy("Customer number"),
        "customer id, customer number, customer no, user id, client id, customer code, id, "
        "codice cliente, id cliente, numero cliente, cliente, customer, id utente",
        is_key=True,
    ),
    Field(
        "email",
        gettext_lazy("Email"),
        "email, e mail, email address, e mail address, mail, customer email, indirizzo email, "
        "indirizzo e mail, posta elettronica, email cliente",
        is_key=True,
        looks_like=r"[^@\s]+@[^@\s]+\.\w+",
    ),
    Field(
        "phone",
        gettext_lazy("Phone"),
        "phone, phone number, mobile, mobile phone, cell, telephone, sms, customer phone, telefono, "
        "cellulare, numero di telefono, cell phone, tel",
        is_key=True,
        looks_like=r"(?:\+|00)[\d\s()./-]{7,20}",
    ),
)
CUSTOMER_FIELDS: tuple[Field, ...] = (
    *KEY_FIELDS,
    Field(
        "card",
        gettext_lazy("Card"),
        "card, card number, loyalty card, loyalty card number, carta fedelta, tessera, "
        "numero tessera, numero carta, fidelity card",
        is_key=True,
    ),
    Field("first_name", gettext_lazy("First name"), "first name, given name, nome"),
    Field("last_name", gettext_lazy("Last name"), "last name, surname, family name, cognome"),
    Field("full_name", gettext_lazy("Full name"), "full name, name, customer name, nome e cognome"),
    Field("language", gettext_lazy("Language"), "language, locale, lang, lingua"),
    Field(
        "birth_date",
        gettext_lazy("Birth date"),
        "birth date, birthday, date of birth, birthdate, dob, data di nascita, compleanno",
    ),
    Field("city", gettext_lazy("City"), "city, town, default address city, citta, comune"),
    Field(
        "country",
        gettext_lazy("Country"),
        "country, country code, default address country code, nation, paese, nazione",
    ),
    Field("timezone", gettext_lazy("Time zone"), "timezone, time zone, fuso orario, tz"),
    Field(
        "home_store",
        gettext_lazy("Home store"),
        "home store, store, store code, preferred store, shop, negozio, punto vendita",
    ),
    Field(
        "created_at",
        gettext_lazy("Customer since"),
        "signed up on, signup date, signed up, sign up date, created at, created, joined, "
        "registered, customer since, date created, registration date, data registrazione, "
        "cliente dal, data iscrizione, created on, registered on",
    ),
    Field(
        "email_marketing",
        gettext_lazy("Email marketing consent"),
        "email marketing, email marketing consent, accepts email marketing, accepts marketing, "
        "newsletter, email consent, email opt in, consenso email, consenso marketing email, "
        "consenso newsletter, marketing email, consenso e mail, optin email",
    ),
    Field(
        "sms_marketing",
        gettext_lazy("SMS marketing consent"),
        "sms marketing, sms marketing consent, accepts sms marketing, sms consent, sms opt in, "
        "consenso sms, consenso marketing sms, marketing sms, optin sms",
    ),
    Field("profiling", gettext_lazy("Profiling consent"), "profiling, consenso profilazione"),
    Field("open_tracking", gettext_lazy("Open tracking consent"), "open tracking"),
    Field(
        "consent_source",
        gettext_lazy("Consent: where it was given"),
        "consent source, opt in source, fonte consenso, origine consenso",
    ),
    Field(
        "consent_on",
        gettext_lazy("Consent: when it was given"),
        "consent on, consent date, consent at, opt in date, opt in time, consent timestamp, "
        "data consenso, data del consenso, confirm time",
    ),
    Field(
        "consent_wording",
        gettext_lazy("Consent: version of the wording"),
        "consent wording, consent version, privacy version, versione informativa",
    ),
)
CONSENTS: dict[str, tuple[str, str]] = {
    "email_marketing": (Channel.EMAIL, Purpose.MARKETING),
    "sms_marketing": (Channel.SMS, Purpose.MARKETING),
    "profiling": ("", Purpose.PROFILING),
    "open_tracking": ("", Purpose.OPEN_TRACKING),
}


class Rejected(Exception):
    """A row cannot be used; `column` is the header at fault, empty when it is the row as a whole."""

    def __init__(self, reason: str, column: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.column = column

    def __str__(self) -> str:
        return f"{self.column}: {self.reason}" if self.column else self.reason


@dataclass(frozen=True, slots=True)
class Statement:
    """What a person said about being contacted; without `at`, sometime before the file arrived."""

    channel: str
    purpose: str
    state: str
    at: datetime | None
    source: str
    wording: str


@dataclass(slots=True)
class PersonRow:
    """A row of a customer file: only what it says, no empty values."""

    line: int
    keys: list[tuple[str, str]]
    values: dict[str, Any] = field(default_factory=dict)
    traits: dict[str, Any] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)


class CellReader:
    """Cells of a row by field name; a cell that makes no sense rejects the row, naming its column."""

    def __init__(self, columns: Sequence[str], mapping: dict[str, str]) -> None:
        self.columns = columns
        self.positions = {
            name: columns.index(column) for column, name in mapping.items() if name and name != TRAIT
        }
        self.traits = [index for index, column in enumerate(columns) if mapping.get(column) == TRAIT]

    def read(self, row: Row, name: str, convert: Callable[[str], Any]) -> Any:
        """The converted cell of a field, or None when the column is missing or the cell empty."""
        position = self.positions.get(name)
        if position is None:
            return None
        return self.read_at(row, position, convert)

    def read_at(self, row: Row, position: int, convert: Callable[[str], Any]) -> Any:
        cell = _undefused(row.cells[position].strip())
        if not cell:
            return None
        try:
            return convert(cell)
        except DomainError as error:
            raise Rejected(str(error), self.columns[position]) from error


class PersonReader:
    """Turns rows of one customer file into PersonRows."""

    def __init__(self, columns: Sequence[str], mapping: dict[str, str], options: dict[str, Any]) -> None:
        self.cells = CellReader(columns, mapping)
        self.country = options.get("country", "")
        self.consent_source = options.get("consent_source") or ""
        self.consent_wording = options.get("consent_wording") or ""
        self.consent_on = cells.moment(options["consent_on"]) if options.get("consent_on") else None
        self.find_store = store_finder() if "home_store" in self.cells.positions else None
        self.converters = self._converters()

    def _converters(self) -> list[tuple[str, Callable[[str], Any]]]:
        """How each attribute column of this file is read."""
        name = partial(cells.text, longest=100)
        converters: dict[str, Callable[[str], Any]] = {
            "first_name": name,
            "last_name": name,
            "full_name": partial(cells.text, longest=200),
            "language": cells.language,
            "birth_date": cells.past_day,
            "city": name,
            "country": cells.country,
            "timezone": cells.timezone,
            "created_at": cells.past_moment,
        }
        if self.find_store:
            converters["home_store"] = self.find_store
        return [(name, convert) for name, convert in converters.items() if name in self.cells.positions]

    def read(self, row: Row) -> PersonRow:
        """Raises Rejected with the column and the reason."""
        values = {}
        for name, convert in self.converters:
            value = self.cells.read(row, name, convert)
            if value is not None:
                values[name] = value
        if "full_name" in values:
            values = _split_full_name(values.pop("full_name")) | values
        if "home_store" in values:
            values["home_store_id"] = values.pop("home_store")
        keys = read_keys(self.cells, row, values.get("country") or self.country, KEYS)
        return PersonRow(row.line, keys, values, self._traits(row), self._statements(row))

    def _traits(self, row: Row) -> dict[str, Any]:
        found = {}
        for position in self.cells.traits:
            value = self.cells.read_at(row, position, cells.trait)
            if value is not None:
                found[self.cells.columns[position]] = value
        return found

    def _statements(self, row: Row) -> list[Statement]:
        states = {name: self.cells.read(row, name, cells.consent) for name in CONSENTS}
        if not any(states.values()):
            return []
        short = partial(cells.text, longest=100)
        at = self.cells.read(row, "consent_on", cells.past_moment) or self.consent_on
        source = self.cells.read(row, "consent_source", short) or self.consent_source
        wording = self.cells.read(row, "consent_wording", short) or self.consent_wording
        return [
            Statement(*CONSENTS[name], state, at, source, wording) for name, state in states.items() if state
        ]


def read_keys(reader: CellReader, row: Row, country: str, kinds: Sequence[str]) -> list[tuple[str, str]]:
    """The row's identifiers in the order they are asked; raises Rejected when there is none."""
    keys = []
    for kind in kinds:
        convert = partial(normalise_identifier, kind, country=country)
        value = reader.read(row, kind, convert)
        if value is not None:
            keys.append((str(kind), value))
    if not keys:
        raise Rejected(_("The row names no customer: every identifier is empty."))
    return keys


def store_finder() -> Callable[[str], int]:
    """A function from a store's code or name to its id, which raises BadCell for no store of ours."""
    known: dict[str, int] = {}
    for pk, code, name in Store.objects.values_list("pk", "code", "name"):
        known |= {name.casefold(): pk}
        known |= {code.casefold(): pk}

    def find(cell: str) -> int:
        pk = known.get(cell.casefold())
        if pk is None:
            raise cells.BadCell(_("There is no store “{value}”.").format(value=cell[:60]))
        return pk

    return find


def _split_full_name(full: str) -> dict[str, str]:
    """First word and the rest, or what stands after and before a comma."""
    last, comma, first = full.partition(",")
    if not comma:
        first, _space, last = full.partition(" ")
    parts = {"first_name": first.strip()[:100], "last_name": last.strip()[:100]}
    return {name: part for name, part in parts.items() if part}


def _undefused(cell: str) -> str:
    """A cell without the apostrophe that kept a spreadsheet from executing it: our own exports have it."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in ("=", "+", "-", "@", "|", "%") else cell
