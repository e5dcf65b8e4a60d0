from itertools import count

from inventory.models import Store

_numbers = count(1)


def make_store(
    *, code: str = "", name: str = "", city: str = "Milano", timezone: str = "Europe/Rome"
) -> Store:
    """A shop."""
    number = next(_numbers)
    return Store.objects.create(
        code=code or f"store-{number}",
        name=name or f"Store {number}",
        city=city,
        country="IT",
        timezone=timezone,
    )
