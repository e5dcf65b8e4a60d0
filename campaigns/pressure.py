"""What the coming days ask of people: measured by a worker, shown by the calendar.

People are not followed one by one. Whoever has had the same messages this week and is in the audiences of
the same campaigns asks the same of us, so the database counts people by that signature, and what each day
brings is worked out once per signature, whatever the size of the house.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.utils.timezone import localdate, now

from customers.contact import contacts_params, contacts_sql
from customers.events import MESSAGE_SENT
from customers.models import Channel
from segments.compiler import audience_sql

from .models import Campaign, DayPressure, Occurrence
from .occurrences import wall_time_of, walls_after
from .planning import channels_of

WEEKLY_CAP = 3  # Messages of all channels to one person, from Monday to Sunday.
HORIZON = timedelta(days=34)  # A month's page of the calendar, whatever day it is today.

_TEMPORARY = """
CREATE TEMPORARY TABLE asked (customer_id bigint NOT NULL, what text NOT NULL) ON COMMIT DROP
"""

# One line per message: of this week the day it went or goes, read by event_name_time and message_waiting.
_THIS_WEEK = """
INSERT INTO asked
SELECT customer_id, ((occurred_at AT TIME ZONE %(zone)s)::date)::text FROM customers_event
WHERE name = %(sent)s AND occurred_at >= %(monday)s::timestamp AT TIME ZONE %(zone)s
UNION ALL
SELECT customer_id, ((GREATEST(due_at, now()) AT TIME ZONE %(zone)s)::date)::text FROM campaigns_message
WHERE status = 'planned'
"""

# One line per person and channel a coming campaign reaches, by the campaign's id.
_COMING = """
INSERT INTO asked
SELECT customer_id, %(campaign)s::text
FROM ({contacts}) AS contact
WHERE address IS NOT NULL AND consent = 'granted' AND suppression IS NULL
"""

_SIGNATURES = """
SELECT signature, count(*) FROM (
    SELECT string_agg(what, ' ' ORDER BY what) AS signature FROM asked GROUP BY customer_id) AS person
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


@transaction.atomic
def measure_pressure(*, at: datetime | None = None) -> int:
    """Measure the days from this Monday to the horizon, and keep them; returns how many were written.

    A campaign for people's own clocks counts for the day it is called by, wherever they live.
    """
    today = localdate(at or now())
    monday = today - timedelta(days=today.weekday())
    days_of = {campaign: _days_to_come(campaign, today + HORIZON) for campaign in _coming()}
    with connection.cursor() as cursor:
        cursor.execute(_TEMPORARY)
        cursor.execute(_THIS_WEEK, {"zone": settings.TIME_ZONE, "sent": MESSAGE_SENT, "monday": monday})
        for campaign, days in days_of.items():
            if days:
                cursor.execute(*_audience_of(campaign, at or now()))
        cursor.execute(_SIGNATURES)
        rows = cursor.fetchall()
        channels = list(Channel.values)
        people = "(SELECT id FROM customers_customer WHERE status IN ('known', 'anonymous'))"
        cursor.execute(_REACHABLE.format(contacts=contacts_sql(people)), contacts_params(channels))
        reachable = cursor.fetchone()[0]
    found = _by_day(rows, {str(campaign.pk): days for campaign, days in days_of.items()})
    return _keep(
        found, [monday + timedelta(days=n) for n in range((today + HORIZON - monday).days)], reachable
    )


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


def _audience_of(campaign: Campaign, at: datetime) -> tuple[str, dict[str, object]]:
    include = list(campaign.include.values_list("pk", flat=True))
    exclude = list(campaign.exclude.values_list("pk", flat=True))
    audience = audience_sql(include, exclude, at)
    sql = _COMING.format(contacts=contacts_sql(f"({audience.sql})"))
    return sql, audience.params | contacts_params(channels_of(campaign)) | {"campaign": campaign.pk}


def _by_day(rows: Iterable[tuple[str, int]], days_of: dict[str, list[date]]) -> dict[date, _Day]:
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
