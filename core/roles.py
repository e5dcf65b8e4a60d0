"""Who may do what: six roles, one table.

A role is a field of the user, and its permissions are written here, so a change of role takes effect
with the next request and no row can drift from the code.
"""

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class Role(TextChoices):
    ADMINISTRATOR = "administrator", _("Administrator")
    MARKETING_MANAGER = "marketing_manager", _("Marketing manager")
    MARKETER = "marketer", _("Marketer")
    ANALYST = "analyst", _("Analyst")
    STORE_MANAGER = "store_manager", _("Store manager")
    STORE_CLERK = "store_clerk", _("Store clerk")


STORE_ROLES = frozenset({Role.STORE_MANAGER, Role.STORE_CLERK})

_READ_MARKETING = {
    "analytics.view_home",
    "campaigns.view_brand",
    "campaigns.view_campaign",
    "customers.view_customer",
    "inventory.view_store",
    "orders.view_order",
    "segments.view_segment",
}
_WRITE_MARKETING = {
    "campaigns.add_campaign",
    "campaigns.change_campaign",
    "campaigns.delete_campaign",
    "campaigns.send_campaign",
    "customers.change_consent",
    "customers.change_customer",
    "customers.import_customer",
    "orders.import_order",
    "segments.add_segment",
    "segments.change_segment",
    "segments.delete_segment",
}
_STORE = {"customers.view_customer", "orders.view_order", "inventory.view_store"}

# An administrator may do everything and is not listed.
PERMISSIONS: dict[str, frozenset[str]] = {
    Role.MARKETING_MANAGER: frozenset(
        _READ_MARKETING
        | _WRITE_MARKETING
        | {
            "campaigns.approve_campaign",
            "campaigns.change_brand",
            "campaigns.change_providerreport",
            "campaigns.view_providerreport",
            "core.view_history",
            "customers.export_customer",
        }
    ),
    Role.MARKETER: frozenset(_READ_MARKETING | _WRITE_MARKETING),
    Role.ANALYST: frozenset(_READ_MARKETING | {"core.view_history", "customers.export_customer"}),
    Role.STORE_MANAGER: frozenset(_STORE | {"customers.change_customer", "customers.change_consent"}),
    Role.STORE_CLERK: frozenset(_STORE | {"customers.change_consent"}),
}
