"""What a row of a customer file says, checked and normalised, ready to be applied.

A row with one bad cell is refused whole, with the column and the reason: somebody mends it and brings it
again. Taking the rest of the row would leave a customer half known and nobody the wiser.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

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
    "email_marketing": (Channel.EMAIL.value, Purpose.MARKETING.value),
    "sms_marketing": (Channel.SMS.value, Purpose.MARKETING.value),
    "profiling": ("", Purpose.PROFILING.value),
    "open_tracking": ("", Purpose.OPEN_TRACKING.value),
}


class Rejected(Exception):
    """A row cannot be used; `column` is the header at fault, empty when it is the row as a whole."""

    def __init__(self, reason: str, column: str = "") -> None:
        super().__init__(reason, column)
        self.reason = reason
        self.column = column

    def __str__(self) -> str:
        return f"{self.column}: {self.reason}" if self.column else self.reason


class Statement(NamedTuple):
    """What a person said about being contacted; without `at`, sometime before the file arrived."""

    channel: str
    purpose: str
    state: str
    at: datetime | None
    source: str
    wording: str


class PersonRow(NamedTuple):
    """A row of a customer file: only what it says, no empty values."""

    line: int
    keys: list[tuple[str, str]]
    values: dict[str, Any]
    traits: dict[str, Any]
    statements: list[Statement]


Convert = Callable[[str], Any]
ReadCell = Callable[[Sequence[str]], Any]  # From the cells of a row to a value, None where there is none.
MEMORY = 10_000  # Different texts of one column whose meaning is remembered.
LONGEST_REMEMBERED = 100


class CellReader:
    """Makes readers of columns; a cell that makes no sense rejects its row, naming its column."""

    def __init__(self, columns: Sequence[str], mapping: dict[str, str]) -> None:
        self.columns = columns
        self.positions = {
            name: columns.index(column) for column, name in mapping.items() if name and name != TRAIT
        }
        self.traits = [index for index, column in enumerate(columns) if mapping.get(column) == TRAIT]

    def field(self, name: str, convert: Convert) -> ReadCell:
        """A reader of the field's converted cell; None for every row when no column is mapped to it."""
        position = self.positions.get(name)
        return _nothing if position is None else self.at(position, convert)

    def at(self, position: int, convert: Convert) -> ReadCell:
        """A reader of the column at this position that converts each different text once."""
        known: dict[str, Any] = {}

        def read(row: Sequence[str]) -> Any:
            text = row[position]
            if text in known:
                return known[text]
            value = self.read(row, position, convert)
            if len(known) < MEMORY and len(text) <= LONGEST_REMEMBERED:
                known[text] = value
            return value

        return read

    def read(self, row: Sequence[str], position: int, convert: Convert) -> Any:
        """The converted cell, None when it is empty. Raises Rejected with the column and the reason."""
        cell = _undefused(row[position].strip())
        if not cell:
            return None
        try:
            return convert(cell)
        except DomainError as error:
            raise Rejected(str(error), self.columns[position]) from error


def _nothing(row: Sequence[str]) -> None:
    return None


class KeyReader:
    """Reads the identifiers of a row, in the order in which they are asked who it is about."""

    def __init__(self, reader: CellReader, kinds: Sequence[str]) -> None:
        self.reader = reader
        self.columns = [(str(kind), reader.positions[kind]) for kind in kinds if kind in reader.positions]

    def read(self, row: Sequence[str], country: str) -> list[tuple[str, str]]:
        """Raises Rejected when there is none, or one that is none."""
        keys = []
        for kind, position in self.columns:
            convert = partial(normalise_identifier, kind, country=country)
            value = self.reader.read(row, position, convert)
            if value is not None:
                keys.append((kind, value))
        if not keys:
            raise Rejected(_("The row names no customer: every identifier is empty."))
        return keys


class PersonReader:
    """Turns rows of one customer file into PersonRows."""

    def __init__(self, columns: Sequence[str], mapping: dict[str, str], options: dict[str, Any]) -> None:
        reader = CellReader(columns, mapping)
        self.country = options.get("country", "")
        self.keys = KeyReader(reader, KEYS)
        self.values = self._readers_of_values(reader)
        self.traits = [(columns[at], reader.at(at, cells.trait)) for at in reader.traits]
        self.statements = StatementReader(reader, options)

    def _readers_of_values(self, reader: CellReader) -> list[tuple[str, ReadCell]]:
        """How each attribute column of this file is read, under the name of what it says."""
        name = partial(cells.text, longest=100)
        converters: dict[str, Convert] = {
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
        found = [
            (name, reader.field(name, convert))
            for name, convert in converters.items()
            if name in reader.positions
        ]
        if "home_store" in reader.positions:
            found.append(("home_store_id", reader.field("home_store", store_finder())))
        return found

    def read(self, row: Row) -> PersonRow:
        """Raises Rejected with the column and the reason."""
        line, texts, _problem = row
        values = _said(self.values, texts)
        if "full_name" in values:
            values = _split_full_name(values.pop("full_name")) | values
        keys = self.keys.read(texts, values.get("country") or self.country)
        return PersonRow(line, keys, values, _said(self.traits, texts), self.statements.read(texts))


def _said(readers: list[tuple[str, ReadCell]], texts: Sequence[str]) -> dict[str, Any]:
    """Name to value for the cells that are not empty."""
    found = {}
    for name, read in readers:
        value = read(texts)
        if value is not None:
            found[name] = value
    return found


class StatementReader:
    """Reads what a row says about consents, with the proof the row or else the whole file gives."""

    def __init__(self, reader: CellReader, options: dict[str, Any]) -> None:
        short = partial(cells.text, longest=100)
        self.source = options.get("consent_source") or ""
        self.wording = options.get("consent_wording") or ""
        self.at = cells.moment(options["consent_on"]) if options.get("consent_on") else None
        self.states = [
            (subject, reader.field(name, cells.consent))
            for name, subject in CONSENTS.items()
            if name in reader.positions
        ]
        self.read_at = reader.field("consent_on", cells.past_moment)
        self.read_source = reader.field("consent_source", short)
        self.read_wording = reader.field("consent_wording", short)

    def read(self, row: Sequence[str]) -> list[Statement]:
        said = [(subject, state) for subject, read in self.states if (state := read(row))]
        if not said:
            return []
        at = self.read_at(row) or self.at
        proof = (self.read_source(row) or self.source, self.read_wording(row) or self.wording)
        return [Statement(*subject, state, at, *proof) for subject, state in said]


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
