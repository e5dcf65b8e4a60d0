"""The customer list: what its filters mean in rows, and how many there are without counting them all."""

from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Exists, OuterRef

from .models import Consent, ConsentState, Customer, CustomerQuerySet, Purpose
from .search import RECENT, search

COUNT_LIMIT = 10_000
COUNT_LIMIT_OF_COMMON = 200  # Each of them is found by walking past others.


@dataclass(frozen=True)
class Narrowed:
    """The customers that match the filters of a list; the rest as in customers.search."""

    customers: CustomerQuerySet
    is_common: bool = False
    is_short: bool = False


def narrowed(customers: CustomerQuerySet, chosen: dict[str, Any]) -> Narrowed:
    """The customers that match the filters of CustomerFilterForm."""
    customers = customers.filter(
        **{name: chosen[name] for name in ("country", "language", "status") if name in chosen}
    )
    if "store" in chosen:
        customers = customers.filter(home_store=chosen["store"])
    if "consent" in chosen:
        channel, _dash, answer = chosen["consent"].partition("-")
        granted = Exists(
            Consent.objects.filter(
                customer=OuterRef("pk"),
                channel=channel,
                purpose=Purpose.MARKETING,
                state=ConsentState.GRANTED,
            )
        )
        customers = customers.filter(granted if answer == "yes" else ~granted)
    if "q" not in chosen:
        return Narrowed(customers)
    found = search(customers, chosen["q"])
    return Narrowed(found.customers, found.is_common, found.is_short)


@dataclass(frozen=True)
class Size:
    """How many customers a list has. Beyond its limit nobody counts: `is_about` is the planner's belief
    about all of them, `is_more` says only that there are more than `total`."""

    total: int
    is_about: bool = False
    is_more: bool = False


# Both at once: a long list takes as many queries as a short one. The estimate is what autovacuum keeps.
_SIZE = """
SELECT (SELECT count(*) FROM ({few}) AS few),
       (SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = %s::regclass)
"""


def size_of(found: Narrowed, *, is_everybody: bool) -> Size:
    """Count up to the limit; beyond it estimate, when the list is everybody. One query."""
    limit = COUNT_LIMIT_OF_COMMON if found.is_common else COUNT_LIMIT
    query = found.customers.order_by().values("pk")[: limit + 1].query
    few, params = query.get_compiler(connection=connection, elide_empty=False).as_sql()
    with connection.cursor() as cursor:
        cursor.execute(_SIZE.format(few=few), [*params, Customer._meta.db_table])
        counted, estimate = cursor.fetchone()
    if counted <= limit:
        return Size(counted, is_more=found.is_short and estimate > RECENT)
    if is_everybody:
        return Size(max(rounded(estimate), limit), is_about=True)
    return Size(limit, is_more=True)


def rounded(total: int) -> int:
    """Two digits that count: nobody takes 1,234,567 for an estimate."""
    step = 10 ** max(len(str(total)) - 2, 0)
    return round(total / step) * step
