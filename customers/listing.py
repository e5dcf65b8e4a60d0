"""The customer list: what its filters mean in rows, and how many there are without counting them all."""

from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Exists, OuterRef

from .models import Consent, ConsentState, Customer, CustomerQuerySet, Purpose

COUNT_LIMIT = 10_000


def narrowed(customers: CustomerQuerySet, chosen: dict[str, Any]) -> CustomerQuerySet:
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
    if "q" in chosen:
        customers = customers.matching(chosen["q"])
    return customers


@dataclass(frozen=True)
class Size:
    """How many customers a list has. Beyond COUNT_LIMIT nobody counts: `is_about` is the planner's belief
    about all of them, `is_more` says only that there are more than `total`."""

    total: int
    is_about: bool = False
    is_more: bool = False


# Both at once: a long list takes as many queries as a short one. The estimate is what autovacuum keeps.
_SIZE = """
SELECT (SELECT count(*) FROM ({few}) AS few),
       (SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = %s::regclass)
"""


def size_of(customers: CustomerQuerySet, *, is_everybody: bool) -> Size:
    """Count up to COUNT_LIMIT; beyond it estimate, when the list is everybody. One query."""
    few, params = customers.order_by().values("pk")[: COUNT_LIMIT + 1].query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(_SIZE.format(few=few), [*params, Customer._meta.db_table])
        counted, estimate = cursor.fetchone()
    if counted <= COUNT_LIMIT:
        return Size(counted)
    if is_everybody:
        return Size(max(rounded(estimate), COUNT_LIMIT), is_about=True)
    return Size(COUNT_LIMIT, is_more=True)


def rounded(total: int) -> int:
    """Two digits that count: nobody takes 1,234,567 for an estimate."""
    step = 10 ** max(len(str(total)) - 2, 0)
    return round(total / step) * step
