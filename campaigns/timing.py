"""When each person's message is due: the campaign's clock read where each person lives, as SQL.

Python says which instant the wall time is in each zone (walls.instant_of: one rule for summer time), and
the database joins people to it: a handful of distinct zones and hours, whatever the size of the audience.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from inventory.models import Store

from .gates import DUE_AT
from .habits import BEST_HOURS, best_hours_params, hours_allowed
from .models import Campaign
from .occurrences import zone_of
from .walls import instant_of, wall_of, zone_names

# `slot` tells apart what a person's zone alone does not: the zone of their store, or their best hour.
_PERSON = """
person AS MATERIALIZED (
    SELECT customer.id, customer.language, customer.timezone AS zone, {slot} AS slot
    FROM {people} AS given JOIN customers_customer AS customer ON customer.id = given.id {joins}
)
"""

# For each zone and slot there is: when it is due (never before %(at)s), and when it would be too late.
# A zone nobody knows is read as the brand's. The aliases campaign, brand and customer are what DUE_AT needs.
_TIMETABLE = """
timetable AS MATERIALIZED (
    SELECT there.zone, there.slot, {due_at} AS due_at,
           LEAST(campaign.expires_at, {own_at} + make_interval(hours => %(expire_hours)s)) AS expires_at
    FROM (SELECT DISTINCT zone, slot FROM person) AS there
    JOIN campaigns_brand AS brand ON brand.id = %(brand)s
    CROSS JOIN (SELECT %(respect_quiet_hours)s::boolean AS respect_quiet_hours,
                       %(expires_at)s::timestamptz AS expires_at) AS campaign
    CROSS JOIN LATERAL (SELECT CASE WHEN there.zone = ANY(%(zones)s) THEN there.zone
                                    ELSE brand.timezone END) AS customer(timezone)
    JOIN unnest(%(own_zones)s::text[], %(own_slots)s::text[], %(own_moments)s::timestamptz[])
        AS own(zone, slot, at) ON {own_is_theirs}
)
"""


@dataclass(frozen=True)
class Timetable:
    """SQL of the common table expressions `person` (id, language, zone, slot), which follows one named
    `audience` (id), and `timetable` (zone, slot, due_at, expires_at), which follows `person`; every person
    has exactly one row of it.

    Let `contacts_sql` carry a person's columns: to join `person` again may cost its square.
    """

    people: str
    times: str
    params: dict[str, Any]

    @property
    def sql(self) -> str:
        return f"{self.people}, {self.times}"


def timetable(campaign: Campaign, wall: datetime, at: datetime) -> Timetable:
    """When the occurrence `wall` of a campaign is due for each person, told at the instant `at`.

    Whose own time has passed is due at once, and expires `expire_hours` after their own time all the same.
    """
    people, slot, joins, before, own_is_theirs = "audience", "''", "", "", "true"
    moments: list[tuple[str, str, datetime]]
    params: dict[str, Any] = {}
    match campaign.clock:
        case Campaign.Clock.LOCAL:
            own_is_theirs = "own.zone = customer.timezone"
            moments = [(zone, "", instant_of(wall, zone)) for zone in _zones()]
        case Campaign.Clock.STORE:
            slot = "COALESCE(store.timezone, '')"
            joins = "LEFT JOIN inventory_store AS store ON store.id = customer.home_store_id"
            own_is_theirs = "own.slot = there.slot"
            moments = [
                ("", zone, instant_of(wall, zone or campaign.brand.timezone)) for zone in _store_zones()
            ]
        case Campaign.Clock.BEST:
            hours = hours_allowed(campaign.brand, respect_quiet_hours=campaign.respect_quiet_hours)
            before, params = BEST_HOURS + ",", best_hours_params(hours, at)
            people, slot = "best", "given.hour::text"
            own_is_theirs = "own.zone = customer.timezone AND own.slot = there.slot"
            moments = [
                (zone, str(hour), instant_of(wall.replace(hour=hour, minute=0), zone))
                for zone in _zones()
                for hour in hours
            ]
        case _:
            moments = [("", "", _moment(campaign, wall, at))]
    return Timetable(
        before + _PERSON.format(people=people, slot=slot, joins=joins),
        _TIMETABLE.format(
            due_at=DUE_AT.format(moment="GREATEST(own.at, %(at)s)"),
            own_at=DUE_AT.format(moment="own.at"),
            own_is_theirs=own_is_theirs,
        ),
        params
        | {
            "at": at,
            "brand": campaign.brand_id,
            "respect_quiet_hours": campaign.respect_quiet_hours,
            "expires_at": campaign.expires_at,
            "expire_hours": campaign.expire_hours,
            "zones": _zones(),
            "own_zones": [zone for zone, _, _ in moments],
            "own_slots": [slot for _, slot, _ in moments],
            "own_moments": [moment for _, _, moment in moments],
        },
    )


def _moment(campaign: Campaign, wall: datetime, at: datetime) -> datetime:
    """The one instant of a campaign for everybody: of a series, what its zone makes of the wall time.

    A chosen time that passes before the campaign is let go means at once.
    """
    if campaign.crontab:
        return instant_of(wall, zone_of(campaign))
    moment = campaign.send_at or at
    is_let_go = campaign.status not in (Campaign.Status.DRAFT, Campaign.Status.APPROVAL)
    return moment if is_let_go else max(moment, at)


def day_of_audience(campaign: Campaign, wall: datetime, at: datetime) -> datetime:
    """The moment to ask the audience's segments about: now, unless it is another day than the occurrence
    stands for, so that whoever has their birthday is found on it, planned early or, in a series, late.
    """
    zone = zone_of(campaign) if campaign.clock == Campaign.Clock.MOMENT else settings.TIME_ZONE
    if wall_of(at, zone).date() == wall.date():
        return at
    own = instant_of(wall, zone)
    return own if campaign.crontab else max(at, own)


def _zones() -> list[str]:
    return sorted(zone_names())


def known_zone(zone: str, campaign: Campaign) -> str:
    """This zone, or the brand's where nobody knows it."""
    return zone if zone in zone_names() else campaign.brand.timezone


def _store_zones() -> list[str]:
    """The zones of the stores there are, and '' for people without a store."""
    return ["", *Store.objects.order_by("timezone").values_list("timezone", flat=True).distinct()]


@dataclass(frozen=True)
class Due:
    """How many messages are due at an instant, and from when on they are not sent any more."""

    at: datetime
    expires_at: datetime | None
    messages: int


@dataclass(frozen=True)
class Departure:
    """When the first and the last message leave, and how many would be too late by then."""

    first: datetime | None = None
    last: datetime | None = None
    too_late: int = 0


def departure(dues: list[Due], per_hour: int | None) -> Departure:
    """Let messages leave in the order they are due, at most so many an hour, as a queue would.

    Sending itself is taken to cost no time: at most some minutes, told by the campaign's own page.
    """
    if not dues:
        return Departure()
    dues = sorted(dues, key=lambda due: due.at)
    free_at = last = dues[0].at
    too_late = 0
    for due in dues:
        free_at, fitting = max(free_at, due.at), due.messages
        if per_hour and due.expires_at:
            room = max(due.expires_at - free_at, timedelta()) / timedelta(hours=1)
            fitting = min(fitting, int(room * per_hour))
        if per_hour:
            free_at += timedelta(hours=fitting / per_hour)
        last = max(last, free_at) if fitting else last
        too_late += due.messages - fitting
    return Departure(dues[0].at, last, too_late)
