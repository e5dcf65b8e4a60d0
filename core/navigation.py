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
    also: tuple[str, ...] = ()  # Other addresses that belong to it, by name.


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
            Item(
                _("Imports"),
                "file-import",
                "customers:imports",
                "customers.import_customer",
                also=("customers:import", "orders:import"),
            ),
            Item(_("Providers"), "plug-connected", "campaigns:providers", "campaigns.view_providerreport"),
            Item(_("Team"), "user-cog", "core:team", "core.change_user"),
            Item(_("History"), "history", "core:history", "core.view_history"),
        ),
    ),
)


def navigation_for(request: HttpRequest) -> list[dict[str, Any]]:
    """The sections this person may enter, each item with its address and whether it is open now."""
    open_item = _open_item(request.path)
    sections = []
    for section in SECTIONS:
        items = [
            {
                "label": item.label,
                "icon": item.icon,
                "url": reverse(item.url_name),
                "current": item is open_item,
            }
            for item in section.items
            if request.user.has_perm(item.permission)
        ]
        if items:
            sections.append({"title": section.title, "items": items})
    return sections


def _open_item(path: str) -> Item | None:
    """The item whose address the path lies under, the longest address winning; Home is only itself."""
    addresses = {
        reverse(name): item
        for section in SECTIONS
        for item in section.items
        for name in (item.url_name, *item.also)
    }
    under = [
        address for address in addresses if path == address or (address != "/" and path.startswith(address))
    ]
    return addresses[max(under, key=len)] if under else None
