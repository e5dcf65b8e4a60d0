"""What the coming days ask of people: measured by a worker, shown by the calendar.

People are not followed one by one. Whoever has had the same messages this week and is in the audiences of
the same campaigns asks the same of us, so the database counts people by that signature, and what each day
brings is worked out once per signature, whatever the size of the house.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils.timezone import localdate, now

from core.patience import allow_seconds
from customers.contact import contacts_params, contacts_sql
from customers.events import MESSAGE_SENT
from customers.models import Channel
from segments.compiler import audience_sql

from .models import Campaign, DayPressure, Occurrence
from .occurrences import wall_time_of, walls_after
from .planning import channels_of

WEEKLY_CAP = 3  # Messages of all channels to one person, from Monday to Sunday.
PATIENCE_SECONDS = 600
HORIZON = timedelta(days=34)  # A month's page of the calendar, whatever day it is today.

# One row per message: of this week the day it went or goes, read by event_name_time and message_waiting.
_THIS_WEEK = """
SELECT customer_id, ((occurred_at AT TIME ZONE %(zone)s)::date)::text AS what FROM customers_event
WHERE name = %(sent)s AND occurred_at >= %(monday)s::timestamp AT TIME ZONE %(zone)s
UNION ALL
SELECT customer_id, ((GREATEST(due_at, now()) AT TIME ZONE %(zone)s)::date)::text FROM campaigns_message
WHERE status = 'planned'
"""

# One row per person and channel a coming campaign reaches, by the campaign's id.
_COMING = """
SELECT customer_id, %(campaign{pk})s::text AS what
FROM ({contacts}) AS contact
WHERE address IS NOT NULL AND consent = 'granted' AND suppression IS NULL
"""

# One statement that writes nothing: the readers of the event log wait for whoever writes.
_SIGNATURES = """
SELECT signature, count(*) FROM (
    SELECT string_agg(what, ' ' ORDER BY what) AS signature FROM ({asked}) AS asked GROUP BY customer_id
) AS person
GROUP BY signature
"""

_REACHABLE = """
SELECT count(DISTINCT customer_id) FROM ({contacts}) AS contact
WHERE address IS NOT NULL AND consent = 'granted' AND suppression IS NULL
"""


@dataclass
class _Day:
    messages: int = 0
    people: int = 0
    over_cap: int = 0


def measure_pressure(*, at: datetime | None = None) -> int:
    """Measure the days from this Monday to the horizon, and keep them; returns how many were written.

    A campaign for people's own clocks counts for the day it is called by, wherever they live.
    """
    at = at or now()
    today = localdate(at)
    monday = today - timedelta(days=today.weekday())
    days_of = {campaign: _days_to_come(campaign, today + HORIZON) for campaign in _coming()}
    asked = [_THIS_WEEK]
    params: dict[str, Any] = {"zone": settings.TIME_ZONE, "sent": MESSAGE_SENT, "monday": monday}
    for campaign in (campaign for campaign, days in days_of.items() if days):
        asked.append(_audience_of(campaign, at, params))
    rows = _rows(_SIGNATURES.format(asked=" UNION ALL ".join(asked)), params)
    found = _by_day(rows, {str(campaign.pk): days for campaign, days in days_of.items()})
    days = [monday + timedelta(days=n) for n in range((today + HORIZON - monday).days)]
    return _keep(found, days, _count_reachable())


def _rows(sql: str, params: dict[str, Any]) -> list[tuple[Any, ...]]:
    with transaction.atomic(), connection.cursor() as cursor:
        allow_seconds(PATIENCE_SECONDS)
        cursor.execute(sql, params)
        return list(cursor.fetchall())


def _count_reachable() -> int:
    people = "(SELECT id FROM customers_customer WHERE status IN ('known', 'anonymous'))"
    sql = _REACHABLE.format(contacts=contacts_sql(people))
    return int(_rows(sql, contacts_params(list(Channel.values)))[0][0])


def _coming() -> list[Campaign]:
    pending = Campaign.objects.filter(occurrences__state=Occurrence.State.PENDING)
    return list(pending.select_related("brand", "crontab").order_by("pk"))


def _days_to_come(campaign: Campaign, until: date) -> list[date]:
    """The local days a campaign goes out on, the pending one first, up to a day."""
    pending = campaign.occurrences.get(state=Occurrence.State.PENDING)
    days = [pending.local_date]
    for wall in walls_after(campaign, wall_time_of(pending)):
        if wall.date() > until:
            break
        days.append(wall.date())
    return [day for day in days if day <= until]


def _audience_of(campaign: Campaign, at: datetime, params: dict[str, Any]) -> str:
    """SELECT of one row per message of one occurrence; its parameters are put to the others."""
    include = list(campaign.include.values_list("pk", flat=True))
    exclude = list(campaign.exclude.values_list("pk", flat=True))
    audience = audience_sql(include, exclude, at, prefix=f"seg{campaign.pk}_")
    contacts = contacts_sql(f"({audience.sql})")
    channels = f"channels{campaign.pk}"
    params |= audience.params | contacts_params([])
    params |= {f"campaign{campaign.pk}": campaign.pk, channels: channels_of(campaign)}
    return _COMING.format(pk=campaign.pk, contacts=contacts.replace("%(channels)s", f"%({channels})s"))


def _by_day(rows: Iterable[tuple[Any, ...]], days_of: dict[str, list[date]]) -> dict[date, _Day]:
    """What each day asks, from (signature, people): a signature names days and campaigns."""
    found: dict[date, _Day] = {}
    for signature, people in rows:
        asked: Counter[date] = Counter()
        for what in signature.split():
            asked.update(days_of[what] if what in days_of else [date.fromisoformat(what)])
        week, so_far = None, 0
        for day in sorted(asked):
            if day.isocalendar()[:2] != week:
                week, so_far = day.isocalendar()[:2], 0
            kept = found.setdefault(day, _Day())
            kept.messages += asked[day] * people
            kept.people += people
            if so_far <= WEEKLY_CAP < so_far + asked[day]:
                kept.over_cap += people
            so_far += asked[day]
    return found


def _keep(found: dict[date, _Day], days: list[date], reachable: int) -> int:
    rows = [
        DayPressure(
            day=day,
            messages=kept.messages,
            people=kept.people,
            over_cap=kept.over_cap,
            reachable=reachable,
            measured_at=now(),
        )
        for day in days
        for kept in [found.get(day, _Day())]
    ]
    DayPressure.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["day"],
        update_fields=["messages", "people", "over_cap", "reachable", "measured_at"],
    )
    return len(rows)
