"""Finding people by words, at much the same cost among a thousand and among a million.

A word that few people have is looked up in the trigram indexes, and those people are all there is to sort.
A word that many have is met soon by whoever walks through the list from its newest end. One question, asked
first, tells which it is.
"""

from dataclasses import dataclass, field
from functools import reduce
from operator import and_

from django.db.models import Exists, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Concat, Upper

from .models import NAME_UPPER, Customer, CustomerQuerySet, Identifier

FEW = 1_000
MOST_WORDS = 5
SHORTEST = 3  # No index helps with fewer letters.
RECENT = 5_000
# Of a name that many have PostgreSQL expects few, collects them all by the index and sorts them; of this it
# knows no index, and walks through the list until a page is full.
_UNINDEXED_NAME = Concat(NAME_UPPER, Value(""))


@dataclass(frozen=True)
class Search:
    """Who has all of the words.

    When they are common, a few such people are soon met, and all are many. When they are short, only the
    RECENT newest customers are looked through.
    """

    customers: CustomerQuerySet
    is_common: bool = False
    is_short: bool = False


def search(customers: CustomerQuerySet, words: str) -> Search:
    """Everybody with each of these words somewhere in the name or in an identifier.

    Words each of which more than FEW people have must stand together, in the name or in one identifier.
    """
    wanted = words.upper().split()[:MOST_WORDS]
    if not wanted:
        return Search(customers)
    found = customers.alias(name_upper=NAME_UPPER)
    long = [word for word in wanted if len(word) >= SHORTEST]
    if not long:
        newest = customers.order_by("-created_at", "-pk").values("pk")[:RECENT]
        return Search(_with_each(wanted, found.filter(pk__in=newest)), is_short=True)
    met = _meet(long)
    few = _rarest(met)
    if few is not None:
        return Search(_with_each(wanted, found.filter(pk__in=few)))
    walked = customers.alias(name_walked=_UNINDEXED_NAME)
    together = Q(*(Q(name_walked__contains=word) for word in wanted))
    identified = met[-1].identified
    elsewhere = Q(pk__in=identified) if len(identified) <= FEW else Q(Exists(_identifiers(*wanted)))
    return Search(walked.filter(together | elsewhere), is_common=True)


def _with_each(words: list[str], customers: CustomerQuerySet) -> CustomerQuerySet:
    for word in words:
        customers = customers.filter(Q(name_upper__contains=word) | Exists(_identifiers(word)))
    return customers


@dataclass(frozen=True)
class Met:
    """Some people with a word, or several, in the name, and some with it in an identifier: FEW + 1 of each
    at most, so that up to FEW are all there are."""

    named: set[int] = field(default_factory=set)
    identified: set[int] = field(default_factory=set)

    @property
    def everybody(self) -> set[int] | None:
        is_all = len(self.named) <= FEW and len(self.identified) <= FEW
        return self.named | self.identified if is_all else None


def _meet(words: list[str]) -> list[Met]:
    """Of each word, then of all of them together. Uses the trigram indexes, in one query."""
    sought = [(word,) for word in words] + ([tuple(words)] if len(words) > 1 else [])
    asked = [part for number, together in enumerate(sought) for part in _some_with(number, together)]
    met = [Met() for _ in sought]
    for number, is_name, customer in asked[0].union(*asked[1:], all=True):
        (met[number].named if is_name else met[number].identified).add(customer)
    return met


def _rarest(met: list[Met]) -> set[int] | None:
    """The smallest group that is complete, if one is."""
    return min((one.everybody for one in met if one.everybody is not None), key=len, default=None)


def _some_with(number: int, words: tuple[str, ...]) -> list[QuerySet]:
    name = reduce(and_, (Q(name_upper__contains=word) for word in words))
    value = reduce(and_, (Q(value_upper__contains=word) for word in words))
    named = Customer.objects.annotate(name_upper=NAME_UPPER).filter(name)
    identified = Identifier.objects.annotate(value_upper=Upper("value")).filter(value)
    return [
        named.values_list(Value(number), Value(True), "pk")[: FEW + 1],
        identified.values_list(Value(number), Value(False), "customer_id")[: FEW + 1],
    ]


def _identifiers(*words: str) -> QuerySet[Identifier]:
    """An identifier of the customer at hand with all these words.

    The second comparison with the customer says nothing new: it keeps PostgreSQL from collecting everybody's
    identifiers with the words first, which of a mail domain are millions.
    """
    of_customer = Identifier.objects.filter(customer=OuterRef("pk"), customer__gte=OuterRef("pk"))
    identifiers = of_customer.alias(value_upper=Upper("value"))
    return identifiers.filter(*(Q(value_upper__contains=word) for word in words))
