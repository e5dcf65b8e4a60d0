"""What Ctrl K finds: people, orders, segments, campaigns, and what there is to do."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.db.models import OuterRef, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from campaigns.models import Campaign
from core.models import User
from core.navigation import navigation_for
from core.templatetags.ui import money, num
from customers.models import Customer, Identifier
from orders.models import Order
from segments.models import Segment

LONGEST = 100
SHOWN = 6


@dataclass(frozen=True)
class Found:
    icon: str
    label: str
    url: str
    detail: str = ""


@dataclass(frozen=True)
class Group:
    title: str
    items: list[Found]


@dataclass(frozen=True)
class Action:
    """Something to do: where it starts and who may."""

    label: str | Promise
    icon: str
    url_name: str
    permission: str


ACTIONS = (
    Action(gettext_lazy("Create campaign"), "speakerphone", "campaigns:new", "campaigns.add_campaign"),
    Action(gettext_lazy("Create segment"), "stack-2", "segments:new", "segments.add_segment"),
    Action(gettext_lazy("Create fixed list"), "list-check", "segments:new_list", "segments.add_segment"),
    Action(gettext_lazy("Create brand"), "palette", "campaigns:brand_new", "campaigns.change_brand"),
    Action(gettext_lazy("Import customers"), "file-import", "customers:import", "customers.import_customer"),
    Action(gettext_lazy("Import orders"), "file-import", "orders:import", "orders.import_order"),
    Action(gettext_lazy("Add colleague"), "user-plus", "core:colleague_add", "core.change_user"),
)


def find(request: HttpRequest, query: str) -> list[Group]:
    """What this person may see of what they ask for, at most SHOWN of each kind.

    `>` at the start asks for actions only, nothing for all of them. Odd input finds nothing.
    """
    query = query.replace("\0", "").strip()[:LONGEST]
    wants_actions = query.startswith(">") or not query
    words = query.lstrip("> ").casefold().split()
    things = () if wants_actions else _things(request.user, query)  # type: ignore[arg-type]
    groups = [
        *things,
        Group(_("Actions"), _containing(words, _actions(request.user))),  # type: ignore[arg-type]
        Group(_("Pages"), _containing(words, _pages(request))),
    ]
    return [group for group in groups if group.items]


def _things(user: User, query: str) -> Iterator[Group]:
    if user.has_perm("customers.view_customer") and any(len(word) > 2 for word in query.split()):
        yield Group(_("Customers"), list(_customers(user, query)))
    if user.has_perm("orders.view_order") and any(letter.isdigit() for letter in query):
        yield Group(_("Orders"), list(_orders(user, query)))
    if user.has_perm("segments.view_segment"):
        yield Group(_("Segments"), list(_segments(user, query)))
    if user.has_perm("campaigns.view_campaign"):
        yield Group(_("Campaigns"), list(_campaigns(user, query)))


def _customers(user: User, query: str) -> Iterator[Found]:
    """Fewer than three letters are not looked up: no index helps there."""
    addresses = Identifier.objects.filter(customer=OuterRef("pk")).order_by("kind", "pk").values("value")[:1]
    customers = Customer.objects.visible_to(user).current().matching(query).select_related("home_store")
    newest = customers.annotate(address=Subquery(addresses)).order_by("-created_at", "-pk")
    for customer in newest[:SHOWN]:
        yield Found(
            icon="user",
            label=str(customer),
            detail=" · ".join(str(part) for part in (customer.address, customer.home_store) if part),
            url=customer.get_absolute_url(),
        )


def _orders(user: User, query: str) -> Iterator[Found]:
    orders = Order.objects.visible_to(user).filter(number=query).select_related("customer")
    for order in orders.order_by("-placed_at", "-pk")[:SHOWN]:
        yield Found(
            icon="receipt",
            label=order.number,
            detail=f"{order.customer} · {money(order.total_minor, order.currency)}",
            url=order.customer.get_absolute_url(),
        )


def _segments(user: User, query: str) -> Iterator[Found]:
    segments = Segment.objects.visible_to(user).active().filter(name__icontains=query)
    for segment in segments.order_by("name")[:SHOWN]:
        count = segment.match_count
        people = "" if count is None else ngettext("{n} person", "{n} people", count).format(n=num(count))
        url = reverse("segments:detail", args=[segment.pk])
        yield Found(icon="stack-2", label=segment.name, detail=people, url=url)


def _campaigns(user: User, query: str) -> Iterator[Found]:
    campaigns = Campaign.objects.visible_to(user).filter(name__icontains=query)
    for campaign in campaigns.order_by("-created_at")[:SHOWN]:
        url = reverse("campaigns:detail", args=[campaign.pk])
        yield Found("speakerphone", campaign.name, url, campaign.get_status_display())


def _actions(user: User) -> Iterator[Found]:
    for action in ACTIONS:
        if user.has_perm(action.permission):
            yield Found(action.icon, str(action.label), reverse(action.url_name))


def _pages(request: HttpRequest) -> Iterator[Found]:
    for section in navigation_for(request):
        for item in section["items"]:
            yield Found(item["icon"], str(item["label"]), item["url"])


def _containing(words: list[str], items: Iterable[Found]) -> list[Found]:
    return [item for item in items if all(word in item.label.casefold() for word in words)]
