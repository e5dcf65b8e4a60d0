"""The main navigation: what a role sees, in the order of a marketer's day."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True)
class Item:
    label: str | Promise
    icon: str
    url_name: str
    permission: str


@dataclass(frozen=True)
class Section:
    title: str | Promise
    items: tuple[Item, ...]


SECTIONS = (
    Section("", (Item(_("Home"), "home", "analytics:home", "analytics.view_home"),)),
    Section(
        _("Customers"),
        (
            Item(_("Customers"), "users", "customers:list", "customers.view_customer"),
            Item(_("Segments"), "stack-2", "segments:list", "segments.view_segment"),
        ),
    ),
    Section(
        _("Engage"),
        (
            Item(_("Campaigns"), "speakerphone", "campaigns:list", "campaigns.view_campaign"),
            Item(_("Brands"), "palette", "campaigns:brands", "campaigns.view_brand"),
        ),
    ),
    Section(
        _("Administration"),
        (
            Item(_("Imports"), "file-import", "customers:imports", "customers.import_customer"),
            Item(_("Team"), "user-cog", "core:team", "core.change_user"),
            Item(_("History"), "history", "core:history", "core.view_history"),
        ),
    ),
)


def navigation_for(request: HttpRequest) -> list[dict[str, Any]]:
    """The sections this person may enter, each item with its address and whether it is open now."""
    sections = []
    for section in SECTIONS:
        items = [
            {
                "label": item.label,
                "icon": item.icon,
                "url": reverse(item.url_name),
                "current": _is_current(request, item),
            }
            for item in section.items
            if request.user.has_perm(item.permission)
        ]
        if items:
            sections.append({"title": section.title, "items": items})
    return sections


def _is_current(request: HttpRequest, item: Item) -> bool:
    address = reverse(item.url_name)
    if address == "/":
        return request.path == "/"
    others = [reverse(other.url_name) for section in SECTIONS for other in section.items]
    deeper = [o for o in others if o != address and o.startswith(address) and request.path.startswith(o)]
    return request.path.startswith(address) and not deeper
