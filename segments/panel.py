"""What the panel beside the builder says."""

from typing import Any
from uuid import UUID

from django.db.models import Q, Value
from django.db.models.functions import Concat, Upper

from customers.models import Customer, CustomerQuerySet, Identifier

from . import questions
from .builder import Builder
from .limits import TooSlow
from .tree import TreeError

SAMPLE = 10


def of_builder(builder: Builder, customers: CustomerQuerySet, *, person: str) -> dict[str, Any]:
    """Context of partials/panel.html: `measure` with `samples`, or what is wrong; `checked` when a person
    is being checked."""
    found: dict[str, Any] = {"builder": builder, "person": _person(person, customers)}
    try:
        tree = builder.tree()
        measure = questions.measure(tree, sample=SAMPLE)
        found |= {"measure": measure, "samples": _samples(tree, measure.sample, customers)}
        if found["person"]:
            found["checked"] = questions.explain(tree, found["person"].pk)
    except TreeError as error:
        builder.problems = builder.problems or (() if builder.has_problems else error.problems)
    except TooSlow as error:
        found["too_slow"] = str(error)
    return found


def _samples(tree: Any, ids: list[int], customers: CustomerQuerySet) -> list[dict[str, Any]]:
    """Each person with the conditions that hold for them."""
    why = questions.explain_many(tree, ids)
    return [
        {"customer": one, "why": why[one.pk]}
        for one in questions.newest(ids, customers.prefetch_related("identifiers"))
    ]


def _person(written: str, customers: CustomerQuerySet) -> Customer | None:
    try:
        return customers.filter(public_id=UUID(written)).first()
    except ValueError:
        return None


def find_people(query: str, customers: CustomerQuerySet, limit: int = 6) -> list[Customer]:
    """Current customers whose name or any identifier contains the query; nobody for under two letters."""
    query = query.replace("\x00", "")
    if len(query) < 2:
        return []
    owners = Identifier.objects.filter(value__icontains=query).values("customer")[:50]
    named = customers.annotate(name=Upper(Concat("first_name", Value(" "), "last_name")))
    by_name = named.filter(name__contains=query.upper()).values("pk")[:50]
    return list(
        customers.filter(Q(pk__in=owners) | Q(pk__in=by_name)).prefetch_related("identifiers")[:limit]
    )
