"""The customers of the demo, as a file a retailer's old system might export.

Names come from Faker with a fixed seed, so the same people come back every time; dates count back from
today. E-mail addresses end in .example (RFC 2606) and belong to nobody.
"""

import csv
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from random import Random

from faker import Faker

from .sizes import Size

HEADER = (
    "Customer ID",
    "Email",
    "Phone",
    "First name",
    "Last name",
    "Language",
    "Date of birth",
    "City",
    "Country",
    "Time zone",
    "Home store",
    "Loyalty card",
    "Signed up on",
    "Email marketing",
    "SMS marketing",
    "Profiling",
    "Consent source",
    "Consent date",
    "Consent version",
)
NEWCOMER_DAYS = 20  # Who came within so many days has had no campaign yet.
LEFT_BEFORE_DAYS = 150  # Consents withdrawn in the file were withdrawn before the first campaign.


@dataclass(frozen=True)
class Origin:
    """Where a customer may come from; time zones are given only where they differ from the brand's."""

    locale: str
    country: str
    language: str
    share: float
    prefix: str
    phone: str  # Each # becomes a digit.
    cities: tuple[str, ...]
    domain: str
    timezone: str = ""


ORIGINS = (
    Origin("it_IT", "IT", "it", 0.80, "", "3## ### ####", (), "posta.example"),
    Origin("de_DE", "DE", "de", 0.05, "+49 ", "151 ########", ("München", "Köln", "Berlin"), "brief.example"),
    Origin("fr_FR", "FR", "fr", 0.05, "+33 ", "6 39 98 ## ##", ("Lyon", "Nice", "Paris"), "lettre.example"),
    Origin(
        "en_GB",
        "GB",
        "en",
        0.06,
        "+44 ",
        "7#########",
        ("London", "Bristol", "York"),
        "mail.example",
        "Europe/London",
    ),
    Origin(
        "en_US",
        "US",
        "en",
        0.04,
        "+1 ",
        "212 555 ####",
        ("New York", "Boston"),
        "mail.example",
        "America/New_York",
    ),
)
TOWNS = {
    "milano": ("Milano", "Milano", "Milano", "Monza", "Bergamo", "Como", "Pavia"),
    "roma": ("Roma", "Roma", "Roma", "Latina", "Tivoli", "Viterbo"),
    "torino": ("Torino", "Torino", "Asti", "Cuneo", "Ivrea"),
    "": ("Firenze", "Bologna", "Napoli", "Genova", "Verona", "Palermo", "Cagliari", "Bari", "Forlì"),
}
FROM_FURTHER = (
    ("Θεοδώρα", "Παπαδοπούλου", "GR", "el", "Europe/Athens", "Θεσσαλονίκη"),
    ("Олена", "Шевченко", "UA", "uk", "Europe/Kyiv", "Львів"),
    ("Łucja", "Dąbrowska-Żak", "PL", "pl", "Europe/Warsaw", "Łódź"),
    ("美咲", "田中", "JP", "ja", "Asia/Tokyo", "京都"),
    ("Zoë", "D’Ambrosio-Nuñez", "ES", "es", "Europe/Madrid", "Málaga"),
    ("Siân", "O’Neill", "IE", "en", "Europe/Dublin", "Galway"),
)
SOURCES = ("till form", "website sign-up", "checkout form", "evening in the shop")


@dataclass
class Person:
    """A customer; `weight` is how much they buy, `stopped` when they stopped buying."""

    number: str
    first_name: str
    last_name: str
    origin: Origin
    joined: date
    email: str = ""
    phone: str = ""
    city: str = ""
    store: str = ""
    weight: float = 0.0
    stopped: date | None = None
    email_marketing: str = ""
    sms_marketing: str = ""
    consent_on: date | None = None


class People:
    """Invents the customers, the same every time for the same day."""

    def __init__(self, size: Size, today: date) -> None:
        self.size = size
        self.today = today
        self.random = Random(1824)  # noqa: S311 - the same people every time
        self.fakers = {origin.locale: Faker(origin.locale) for origin in ORIGINS}
        for faker in self.fakers.values():
            faker.seed_instance(1824)
        self.phones: set[str] = set()

    def invent(self) -> list[Person]:
        people = [self._person(number) for number in range(1, self.size.customers + 1)]
        self._trouble(people)
        return people

    def _person(self, number: int) -> Person:
        origin = self.random.choices(ORIGINS, [origin.share for origin in ORIGINS])[0]
        faker = self.fakers[origin.locale]
        person = Person(f"CO{number:05}", faker.first_name(), faker.last_name(), origin, self._joined(number))
        person.store = self._store(origin)
        person.city = self.random.choice(TOWNS[person.store] if origin.country == "IT" else origin.cities)
        if self.random.random() < 0.92:
            person.email = f"{_slug(person)}{number}@{origin.domain}"
        if not person.email or self.random.random() < 0.7:
            person.phone = self._phone(origin)
        self._shop_habits(person)
        self._ask_consent(person)
        return person

    def _joined(self, number: int) -> date:
        if number % 50 == 0:  # A steady trickle of newcomers.
            return self.today - timedelta(days=self.random.randrange(1, NEWCOMER_DAYS))
        if self.random.random() < 0.5:
            return self.today - timedelta(days=self.random.randrange(400, 1500))
        return self.today - timedelta(days=self.random.randrange(1, 400))

    def _store(self, origin: Origin) -> str:
        if origin.country != "IT":
            return self.random.choice(("", "", "milano", "roma"))
        return self.random.choices(("milano", "roma", "torino", ""), (38, 24, 18, 20))[0]

    def _phone(self, origin: Origin, ending: str = "") -> str:
        """A number nobody else has; four zeros at the end and their like are for those in trouble."""
        while True:
            digits = "".join(str(self.random.randrange(10)) if c == "#" else c for c in origin.phone)
            if origin.country == "IT":
                digits = self.random.choice(("320", "333", "347", "349", "366", "388", "392")) + digits[3:]
            number = digits[: len(digits) - len(ending)] + ending
            if number not in self.phones and (ending or number.replace(" ", "")[-4:-1] != "000"):
                self.phones.add(number)
                return origin.prefix + number

    def _shop_habits(self, person: Person) -> None:
        """Few buy much, many buy once, some never, a third have stopped."""
        if self.random.random() < 0.12:
            return
        person.weight = self.random.gammavariate(0.8, 1.0) + 0.12
        known_days = (self.today - person.joined).days
        if known_days > 240 and self.random.random() < 0.5:
            person.stopped = self.today - timedelta(days=self.random.randrange(95, min(known_days, 400)))

    def _ask_consent(self, person: Person) -> None:
        person.consent_on = person.joined
        if person.email:
            person.email_marketing = self.random.choices(("yes", "no", ""), (70, 24, 6))[0]
        if person.phone:
            person.sms_marketing = self.random.choices(("yes", "no", ""), (45, 42, 13))[0]
        if (self.today - person.joined).days > 2 * LEFT_BEFORE_DAYS and self.random.random() < 0.06:
            person.email_marketing = person.email_marketing and "withdrawn"
            person.sms_marketing = person.sms_marketing and "no"
            person.consent_on = self.today - timedelta(
                days=self.random.randrange(LEFT_BEFORE_DAYS, 2 * LEFT_BEFORE_DAYS)
            )

    def _trouble(self, people: Sequence[Person]) -> None:
        """Give some an address or number that refuses: newcomers, for the campaign to come, and old
        customers who buy no more, for the campaigns of the past."""
        recent = self.today - timedelta(days=NEWCOMER_DAYS)
        newcomers = [p for p in people if p.joined > recent]
        former = [p for p in people if p.stopped and (self.today - p.joined).days > 250]
        for group, endings in ((newcomers, ("0001",)), (former, ("0001", "0000"))):
            chosen = [p for p in group if p.origin.country == "IT"]
            for person in chosen[: self.size.troubled]:
                person.email = f"gone.{_slug(person)}@{person.origin.domain}"
                person.email_marketing = "yes"
            for index, person in enumerate(chosen[self.size.troubled : 2 * self.size.troubled]):
                person.phone = self._phone(person.origin, endings[index % len(endings)])
                person.sms_marketing = "yes"
            for person in chosen[: 2 * self.size.troubled]:
                person.consent_on = person.joined
                person.weight = 15.0 if group is newcomers else 1.0  # Newcomers must have bought by now.


def write_customers(path: Path, people: Sequence[Person], today: date) -> None:
    """The customer file, a few rows of it as wrong as in life."""
    random = Random(7)  # noqa: S311 - the same file every time
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for person in people:
            writer.writerow(_row(person, random, today))
        writer.writerows(_from_further(today))
        writer.writerows(_wrong_rows(next(person for person in people if person.email)))


def _row(person: Person, random: Random, today: date) -> list[str]:
    has_birthday = random.random() < 0.6
    born = today - timedelta(days=random.randrange(18 * 365, 82 * 365))
    version = "privacy 2025-01" if person.joined >= date(2025, 1, 1) else "privacy 2022-06"
    said = bool(person.email_marketing or person.sms_marketing)
    return [
        person.number,
        person.email,
        person.phone,
        person.first_name,
        person.last_name,
        person.origin.language,
        born.isoformat() if has_birthday else "",
        person.city,
        person.origin.country,
        person.origin.timezone,
        person.store,
        f"80{person.number[2:]}33" if person.store and random.random() < 0.6 else "",
        person.joined.isoformat(),
        person.email_marketing,
        person.sms_marketing,
        random.choice(("yes", "no", "")),
        random.choice(SOURCES) if said else "",
        person.consent_on.isoformat() if said and person.consent_on else "",
        version if said else "",
    ]


def _from_further(today: date) -> Iterator[list[str]]:
    """People whose names and towns are written in other letters."""
    for index, (first, last, country, language, timezone, city) in enumerate(FROM_FURTHER):
        joined = (today - timedelta(days=300 - 40 * index)).isoformat()
        email = f"viaggio{index}@mail.example"
        consents = ["yes", "", "yes", "website sign-up", joined, "privacy 2025-01"]
        identity = [f"CO9000{index}", email, "", first, last, language, "", city, country, timezone, "milano"]
        yield [*identity, "", joined, *consents]


def _wrong_rows(known: Person) -> Iterator[list[str]]:
    """What an export that nobody has looked after contains."""
    empty = [""] * len(HEADER)
    wrong: tuple[dict[str, str], ...] = (
        {"Customer ID": "CO95001", "Email": "mario.rossi@", "First name": "Mario"},
        {"Customer ID": "CO95002", "Email": "anna bianchi@posta.example", "First name": "Anna"},
        {"Customer ID": "null", "First name": "Test"},
        {"First name": "Senza", "Last name": "Recapito"},
        {"Customer ID": "CO95005", "Email": "ivo5@posta.example", "Date of birth": "31/02/1988"},
        {"Customer ID": "CO95006", "Phone": "12", "First name": "Ugo"},
        {"Customer ID": "CO95007", "Email": "rita7@posta.example", "Home store": "napoli"},
        {"Customer ID": "CO95008", "Email": known.email, "First name": "Doppione"},
        {"Customer ID": "CO95009", "Email": "leo9@posta.example", "Email marketing": "forse"},
    )
    for cells in wrong:
        yield [cells.get(column, blank) for column, blank in zip(HEADER, empty, strict=True)]


def _slug(person: Person) -> str:
    """The name as an address writes it."""
    bare = unicodedata.normalize("NFKD", f"{person.first_name}.{person.last_name}")
    return ".".join(re.findall(r"[a-z0-9]+", bare.encode("ascii", "ignore").decode().lower()))
