from typing import Any

from django import template

from core.models import User
from inventory.forms import StaffStoresForm

register = template.Library()


@register.inclusion_tag("inventory/partials/staff_stores.html", takes_context=True)
def staff_stores(context: dict[str, Any], colleague: User) -> dict[str, Any]:
    """The card with the stores a colleague works in."""
    form = StaffStoresForm(initial={"stores": colleague.stores.all()})
    return {"colleague": colleague, "form": form, "csrf_token": context.get("csrf_token")}
