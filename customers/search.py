"""Finding people by words, at much the same cost among a thousand and among a million.

A word that few people have is looked up in the trigram indexes, and those people are all there is to sort.
A word that many have is met soon by whoever walks through the list from its newest end. One question, asked
first, tells which it is.
"""

from dataclasses import dataclass
from functools import reduce
from operator import and_

from django.db.models import Exists, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Upper

from .models import NAME_UPPER, Customer, CustomerQuerySet, Identifier

FEW = 1_000
MOST_WORDS = 5


@dataclass(frozen=True)
class Search:
    """Who has all of the words. When they are common, a few such people are soon met, and all are many."""

    customers: CustomerQuerySet
    is_common: bool = False


def search(customers: CustomerQuerySet, words: str) -> Search:
    """Everybody with each of these words somewhere in the name or in an identifier.

    Words each of which more than FEW people have must stand together, in the name or in one identifier.
    """
    wanted = words.upper().split()[:MOST_WORDS]
    if not wanted:
        return Search(customers)
    few = _few(wanted)
    named = customers.alias(name_upper=NAME_UPPER)
    if few is None:
        together = Q(*(Q(name_upper__contains=word) for word in wanted))
        return Search(named.filter(together | Exists(_identifiers(*wanted))), is_common=True)
    named = named.filter(pk__in=few)
    for word in wanted:
        named = named.filter(Q(name_upper__contains=word) | Exists(_identifiers(word)))
    return Search(named)


def _few(wanted: list[str]) -> set[int] | None:
    """The people who have the rarest of the words, or all of them together; None when those are many too."""
    sought = [(word,) for word in wanted] + ([tuple(wanted)] if len(wanted) > 1 else [])
    asked = [part for number, together in enumerate(sought) for part in _at_most_few(number, together)]
    found: list[list[int]] = [[] for _ in sought]
    for number, customer in asked[0].union(*asked[1:], all=True):
        found[number].append(customer)
    complete = [set(people) for people in found if len(people) <= FEW]
    return min(complete, key=len) if complete else None


def _at_most_few(number: int, words: tuple[str, ...]) -> list[QuerySet]:
    """Numbered people with all these words in the name, and with all in one identifier: FEW + 1 of each."""
    name = reduce(and_, (Q(name_upper__contains=word) for word in words))
    value = reduce(and_, (Q(value_upper__contains=word) for word in words))
    named = Customer.objects.annotate(name_upper=NAME_UPPER).filter(name)
    identified = Identifier.objects.annotate(value_upper=Upper("value")).filter(value)
    return [
        named.values_list(Value(number), "pk")[: FEW + 1],
        identified.values_list(Value(number), "customer_id")[: FEW + 1],
    ]


def _identifiers(*words: str) -> QuerySet[Identifier]:
    """An identifier of the customer at hand with all these words."""
    identifiers = Identifier.objects.filter(customer=OuterRef("pk")).alias(value_upper=Upper("value"))
    return identifiers.filter(*(Q(value_upper__contains=word) for word in words))
