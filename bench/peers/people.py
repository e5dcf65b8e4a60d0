"""Whom the peers write to."""

from collections.abc import Iterator

FIRST_NAMES = ["Anna", "Luca", "Chloë", "D’Angelo", "Zoë", "Søren", "Maria", "Renée"]


def people(count: int) -> Iterator[tuple[str, dict[str, str]]]:
    """An address and the values of a mail, for so many people."""
    for number in range(count):
        values = {
            "first_name": FIRST_NAMES[number % len(FIRST_NAMES)],
            "token": f"{number:x}-Zm9vYmFyYmF6cXV4",
        }
        yield f"person{number}@mail{number % 40}.example", values
