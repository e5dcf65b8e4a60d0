"""The retailer of `bench.world` as a prepared database: built once a week and size, read by many measures."""

from pathlib import Path

from django.utils.timezone import now

from . import database, world

EVENTS_PER_CUSTOMER = 5


def prepared(customers: int) -> str:
    """The database with so many customers and five events each: its name. Only read it, or copy it."""
    week = now().strftime("%G-%V")  # Its last 90 days are those before today, more or less.
    return database.prepared(
        f"world_{customers}",
        lambda: _build(customers),
        Path(world.__file__),
        Path(__file__),
        week,
    )


def _build(customers: int) -> None:
    world.build(customers, EVENTS_PER_CUSTOMER * customers)
