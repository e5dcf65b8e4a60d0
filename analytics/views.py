"""The home page of marketing."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.formats import date_format
from django.utils.timezone import localtime, now
from django.utils.translation import gettext as _
from django.utils.translation import pgettext
from django.views.decorators.http import require_safe

from core.models import User
from core.policy import requires
from core.templatetags.ui import money_whole
from customers.models import Customer
from orders.models import Order

from .attention import matters
from .kept import figures_kept
from .kpis import DAYS, Figures, Period
from .overview import coming, launched, next_sends

CHANNEL_COLOURS = {"web": "web", "store": "store", "app": "push", "phone": "phone"}


@requires("analytics.view_home")
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """How the house does, what needs somebody, what goes out next; a new house is shown where to begin."""
    assert isinstance(request.user, User)
    if not Customer.objects.exists():
        return render(request, "analytics/welcome.html", {"greeting": _greeting()})
    asked = request.GET.get("days", "")
    days = int(asked) if asked in map(str, DAYS) else 30
    return render(request, "analytics/home.html", _home(request.user, days))


def _home(user: User, days: int) -> dict[str, Any]:
    kept, moment = figures_kept(days), now()
    period, figures = kept.period, kept.figures
    recent, ahead = launched(figures.currency), coming(user, moment)
    return {
        "greeting": _greeting(),
        "period": period,
        "choices": DAYS,
        "figures": figures,
        "chart": _chart(period, figures),
        "chart_summary": _chart_summary(period, figures),
        "matters": matters(user, coming=ahead, launched=recent, now=moment),
        "recent": recent,
        "coming": next_sends(ahead, moment),
        "stores": kept.stores,
    }


def _greeting() -> str:
    hour = localtime(now()).hour
    if 5 <= hour < 12:
        return pgettext("greeting", "Good morning")
    return pgettext("greeting", "Good afternoon") if 12 <= hour < 18 else pgettext("greeting", "Good evening")


def _chart(period: Period, figures: Figures) -> dict[str, Any]:
    """Revenue a day, one series per place of sale, as static/js/charts.js reads it."""
    return {
        "label": _("Day"),
        "labels": [date_format(day, "j M") for day in period.dates],
        "series": [
            {"name": _channel(channel), "color": CHANNEL_COLOURS.get(channel), "values": values}
            for channel, values in figures.by_channel.items()
        ],
        "unit": figures.currency,
    }


def _chart_summary(period: Period, figures: Figures) -> str:
    """The chart in a sentence, for who cannot see it."""
    if not figures.by_channel:
        return _("No revenue in these days.")
    strongest, values = next(iter(figures.by_channel.items()))
    return _("Stacked bars: revenue a day from {start} to {end}. {channel} brought most, {revenue}.").format(
        start=date_format(period.dates[0], "j F"),
        end=date_format(period.dates[-1], "j F"),
        channel=_channel(strongest),
        revenue=money_whole(sum(values), figures.currency),
    )


def _channel(channel: str) -> str:
    return str(dict(Order.Channel.choices).get(channel, channel))
