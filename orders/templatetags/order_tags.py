from typing import Any

from django import template
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from customers.models import Customer
from orders.figures import figures_of
from orders.models import Order

register = template.Library()


@register.inclusion_tag("orders/partials/figures.html")
def order_figures(customer: Customer) -> dict[str, Any]:
    """The strip of key figures of a customer: value, orders by channel, average, last purchase, rhythm."""
    figures = figures_of(customer.pk)
    names = dict(Order.Channel.choices)
    split = ", ".join(
        _("{count} {channel}").format(count=count, channel=str(names.get(channel, channel)).lower())
        for channel, count in figures.by_channel
    )
    rhythm = ""
    if figures.days_between:
        rhythm = ngettext("Buys every day", "Buys every {days} days", figures.days_between).format(
            days=figures.days_between
        )
    others = ", ".join(figures.other_currencies)
    note = _("without orders in {currencies}").format(currencies=others) if others else ""
    return {"customer": customer, "figures": figures, "split": split, "rhythm": rhythm, "note": note}
