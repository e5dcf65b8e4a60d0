"""The calendar of campaigns: what goes out when, to how many, and what it asks of people."""

from datetime import date, timedelta
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.utils.dates import WEEKDAYS, WEEKDAYS_ABBR
from django.utils.timezone import localdate
from django.views.decorators.http import require_safe

from core.http import StaffRequest
from core.policy import requires

from . import calendar
from .models import Campaign

MONTH, WEEK = "month", "week"
YEARS = 5  # How far one may turn the pages, either way.


@requires("campaigns.view_campaign")
@require_safe
def campaign_calendar(request: StaffRequest) -> HttpResponse:
    """A month or a week, by the day in the address: `?view=week&day=2026-11-23`."""
    view = WEEK if request.GET.get("view") == WEEK else MONTH
    day = _asked_day(request.GET.get("day", ""))
    around = calendar.week_around(day) if view == WEEK else calendar.month_around(day)
    page = calendar.page_of(request.user, *around, month=day.month if view == MONTH else None)
    context = _context(view, day, page) | {"has_campaigns": True}
    if page.is_empty:
        context["has_campaigns"] = Campaign.objects.visible_to(request.user).exists()
    htmx = request.htmx
    is_fragment = htmx and not htmx.boosted and not htmx.history_restore_request
    return render(request, f"campaigns/{'partials/' if is_fragment else ''}calendar.html", context)


def _asked_day(text: str) -> date:
    """The day of the address; today for what is no day, or lies years away."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return localdate()
    return day if abs(day.year - localdate().year) <= YEARS else localdate()


def _context(view: str, day: date, page: calendar.Page) -> dict[str, Any]:
    first = day.replace(day=1)
    if view == WEEK:
        earlier, later = day - timedelta(days=7), day + timedelta(days=7)
    else:
        earlier, later = (
            (first - timedelta(days=1)).replace(day=1),
            (first + timedelta(days=32)).replace(day=1),
        )
    return {
        "view": view,
        "day": day,
        "page": page,
        "earlier": earlier,
        "later": later,
        "weekdays": [(WEEKDAYS[n], WEEKDAYS_ABBR[n]) for n in range(7)],
        "shown": 3 if view == MONTH else None,
    }
