"""Customer files as systems really export them, with the truth about what is in them."""

import random
from dataclasses import dataclass
from pathlib import Path


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


HEADER = (
    "customer_id,email,phone,first name,last name,language,country,city,birth date,"
    "signed up on,email_marketing,sms_marketing,consent_source,consent_on"
)
FIRST = _words(
    "Anna Luca Giulia Marco Sofia Matteo Chiara Davide Élodie José Zoë Jürgen Francesca Andrea Sara "
    "Paolo Elena Simone Marta Giorgio Nicolò Alessia Pietro Noemi René Ingrid Åsa Søren Beatriz João"
)
LAST = _words(
    "Rossi Ferrari Esposito Bianchi Romano Colombo Ricci Marino Greco Bruno Gallo Conti Mancini Costa "
    "Giordano Rizzo Lombardi Moretti Barbieri Fontana Santoro Mariani Rinaldi Müller García Dupont Núñez "
    "D’Angelo Østergård O'Neill Smith Schröder Lefèvre Pellegrini Cattaneo Grassi Ferri Caruso"
)
CITIES = ("Milano", "Roma", "Torino", "Napoli", "Forlì", "Lyon", "München", "Málaga", "Genova", "Bari")
DOMAINS = (
    "example.it",
    "example.com",
    "posta.example",
    "mail.example.org",
    "uni.example.eu",
    "società.example",
)
# By encoding: how Python writes it, what stands before it, and bytes that are no character in it.
ENCODINGS = {
    "utf-8": ("utf-8", b"", b"\xff"),
    "utf-8 with BOM": ("utf-8", b"\xef\xbb\xbf", b"\xff"),
    "utf-16": ("utf-16-le", b"\xff\xfe", b"\x00\xd8"),
    "cp1252": ("cp1252", b"", b"\x81"),
}
REPEATED = 0.20
SPOILT = 0.03
MEGABYTE_CELLS = 5


@dataclass(frozen=True)
class Truth:
    """What a file holds: rows, different people, rows nobody may import."""

    rows: int
    people: int
    rejected: int


@dataclass(frozen=True, slots=True)
class Person:
    """Who a row is about; the same number is always the same person."""

    number: str
    email: str
    plain_email: str
    phone: str
    first: str
    last: str
    city: str
    born: str
    since: str
    newsletter: str
    texts: str


def dirty_file(path: Path, rows: int, seed: int, *, encoding: str = "utf-8") -> Truth:
    """Write a customer file of so many rows and say what is in it.

    A fifth of the rows are about somebody who stands in the file already, written another way; 3 % cannot be
    imported: ragged rows, NULs, bytes that are no character, cells of a megabyte, addresses and dates that
    are none. In `clean_path(path)` stand the rows that can, normalised, for `COPY … (FORMAT csv)`.
    """
    codec, mark, no_character = ENCODINGS[encoding]
    chance = random.Random(seed)  # To be repeated, not to be secret.
    people = rejected = 0
    with path.open("wb") as dirty, clean_path(path).open("w", encoding="utf-8") as clean:
        dirty.write(mark + f"{HEADER}\r\n".encode(codec))
        for index in range(rows):
            roll = chance.random()
            if index % (rows // MEGABYTE_CELLS + 1) == 7:
                cells = ["x" * 1_048_576, *_cells(_person(rows + index), chance)[1:]]
                dirty.write(_line(cells).encode(codec))
                rejected += 1
            elif roll < SPOILT:
                dirty.write(_spoilt(_person(rows + index), chance, codec, no_character))
                rejected += 1
            else:
                is_new = roll < 1 - REPEATED or not people
                person = _person(people if is_new else chance.randrange(people))
                people += is_new
                dirty.write(_line(_cells(person, chance)).encode(codec))
                clean.write(_clean_line(person))
    return Truth(rows, people, rejected)


def clean_path(path: Path) -> Path:
    return path.with_name(path.name + ".clean")


def _person(number: int) -> Person:
    mix = (number * 2_654_435_761) & 0xFFFFFFFF
    first, last = FIRST[mix % len(FIRST)], LAST[(mix >> 7) % len(LAST)]
    domain = DOMAINS[mix % 17 % len(DOMAINS)]
    box = f"{(first + last).encode('ascii', 'ignore').decode()[:7].replace(chr(39), '')}.{number}"
    return Person(
        number=f"C{number:08}",
        email=f"{box}@{domain}",
        plain_email=f"{box}@{domain.encode('idna').decode()}".lower(),
        phone="" if mix % 5 == 0 else f"3{20 + mix % 79}{number % 10_000_000:07}",
        first=first,
        last=last,
        city=CITIES[(mix >> 3) % len(CITIES)],
        born=f"{1940 + mix % 65}-{1 + mix % 12:02}-{1 + mix % 28:02}",
        since=f"{2010 + mix % 14}-{1 + (mix >> 5) % 12:02}-{1 + (mix >> 4) % 28:02}",
        newsletter="yes" if mix % 3 else "no",
        texts="yes" if mix % 4 == 0 else "",
    )


def _cells(person: Person, chance: random.Random) -> list[str]:
    """The person as one of several systems writes them."""
    style = chance.randrange(16)
    writing = ("+39{0}{1}", "{0}{1}", "0039 {0}{1}", "+39 {0} {1}", "{0}/{1}", "+39-{0}-{1}")[style % 6]
    year, month, day = person.born.split("-")
    return [
        person.number if style else "",
        (person.email, person.email.upper(), f" {person.email}", person.email)[style % 4],
        person.phone and writing.format(person.phone[:3], person.phone[3:]),
        person.first,
        person.last,
        ("it", "IT", "italiano", "it-IT")[style % 4],
        ("IT", "Italia", "ITA", "it")[style % 4],
        person.city,
        person.born if style % 2 else f"{day}/{month}/{year}",
        person.since,
        {"yes": ("yes", "1", "sì", "true"), "no": ("no", "0", "n", "false")}[person.newsletter][style % 4],
        person.texts,
        "checkout form 2024",
        person.since,
    ]


def _spoilt(person: Person, chance: random.Random, codec: str, no_character: bytes) -> bytes:
    """A row with one thing wrong with it."""
    cells = _cells(person, chance)
    cells[0] = person.number
    fault = chance.randrange(10)
    if fault == 0:
        return _line(cells[:-1]).encode(codec)
    if fault == 1:
        return _line([*cells, "more"]).encode(codec)
    if fault == 2:
        before, after = _line([*cells[:3], "¤", *cells[4:]]).split("¤")
        return before.encode(codec) + no_character + after.encode(codec)
    column, texts = {
        3: (3, ("An\0na",)),
        4: (1, ("nobody", "a@@b.it", "anna@", "anna.example.it", "a b@example.it")),
        5: (2, ("12", "none yet", "+999999999999999999")),
        6: (8, ("31/02/1990", "1990-13-01", "soon")),
        7: (6, ("Narnia",)),
        8: (10, ("maybe",)),
        9: (0, ("null", "[object Object]")),
    }[fault]
    cells[column] = chance.choice(texts)
    return _line(cells).encode(codec)


def _line(cells: list[str]) -> str:
    return ",".join(cells) + "\r\n"


def _clean_line(person: Person) -> str:
    phone = person.phone and f"+39{person.phone}"
    values = (person.number, person.plain_email, phone, person.first, person.last, "it", "IT", person.city)
    return ",".join((*values, person.born, person.since)) + "\n"
