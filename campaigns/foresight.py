"""What a schedule would do, told before anything is saved: for the wizard's schedule step and the review."""

from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from django.core.cache import cache
from django.db import connection
from django.utils.timezone import now
from django.utils.translation import gettext as _

from segments.compiler import audience_sql
from segments.questions import TooSlow, time_limit

from .models import Campaign
from .occurrences import next_wall, walls_after, zone_of
from .planning import channels_of
from .timing import Departure, Due, Timetable, day_of_audience, departure, known_zone, timetable
from .walls import instant_of, wall_of
from .words import day_and_time, place_of, schedule_words, wall_words

NEXT = 5
TOP_HOURS = 3

FRESH_SECONDS = 600  # How old the count of an audience may be while somebody tries out hours.

_PLACES = """
WITH audience AS MATERIALIZED ({audience}),
{people}
SELECT zone, slot, count(*) FROM person GROUP BY zone, slot
"""

_TIMES = """
WITH person AS (SELECT * FROM unnest(%(zones_there)s::text[], %(slots_there)s::text[]) AS given(zone, slot)),
{times}
SELECT zone, slot, due_at, expires_at FROM timetable
"""


@dataclass(frozen=True)
class Group:
    """People for whom the next occurrence falls on one instant, `own`, and may leave at `due_at`."""

    own: datetime
    zone: str
    slot: str
    due_at: datetime
    expires_at: datetime
    people: int


@dataclass
class Foresight:
    """A schedule in words and numbers; `people` is None when nobody is chosen, or counting takes too long."""

    words: str
    upcoming: list[tuple[str, str]] = field(default_factory=list)  # A series: when, and a remark.
    people: int | None = None
    zones: int = 0
    span: str = ""
    hours: list[tuple[str, float]] = field(default_factory=list)  # The best ones, with their share of people.
    passed: int = 0  # Whose own time has passed, and who get it at once.
    too_late: int = 0  # Who would not get it any more.
    quiet: int = 0  # Who wait for the end of their quiet hours.
    departure: Departure = field(default_factory=Departure)


def foresee(campaign: Campaign, *, at: datetime | None = None) -> Foresight:
    """Tell what the schedule of a campaign, saved or not, would do; it must have been checked."""
    at = at or now()
    found = Foresight(schedule_words(campaign))
    wall = next_wall(campaign, at)
    if wall is None:
        return found
    if campaign.crontab:
        walls = [wall, *islice(walls_after(campaign, wall), NEXT - 1)]
        found.upcoming = [(_series_words(campaign, each), _remark(campaign, each)) for each in walls]
    try:
        groups = _spread(campaign, wall, at)
    except TooSlow:
        return found
    if groups:
        _count(found, campaign, groups, at)
    return found


def _series_words(campaign: Campaign, wall: datetime) -> str:
    return wall_words(wall, with_time=campaign.clock != Campaign.Clock.BEST)


def _remark(campaign: Campaign, wall: datetime) -> str:
    """What the clocks do to an occurrence on the night they change."""
    if campaign.clock == Campaign.Clock.BEST:
        return ""
    shown = wall_of(instant_of(wall, zone_of(campaign)), zone_of(campaign))
    if shown == wall:
        return ""
    return _("The clocks skip this hour: it goes out at {time}.").format(time=f"{shown:%H:%M}")


def _spread(campaign: Campaign, wall: datetime, at: datetime) -> list[Group]:
    times = timetable(campaign, wall, at)
    places = _places(campaign, times, day_of_audience(campaign, wall, at))
    there = {"zones_there": [zone for zone, _ in places], "slots_there": [slot for _, slot in places]}
    with connection.cursor() as cursor:
        cursor.execute(_TIMES.format(times=times.times), times.params | there)
        return [
            Group(_own(campaign, wall, zone, slot, at), zone, slot, due_at, expires_at, places[zone, slot])
            for zone, slot, due_at, expires_at in cursor.fetchall()
        ]


def _places(campaign: Campaign, times: Timetable, as_of: datetime) -> dict[tuple[str, str], int]:
    """How many of the audience live in which zone, by the zone of their store or their best hour.

    Kept for some minutes: whoever tries out hours does not count a million people each time.
    """
    silence = campaign.respect_quiet_hours if campaign.clock == Campaign.Clock.BEST else ""
    key = f"campaigns.places:{campaign.pk}:{campaign.revision}:{campaign.clock}:{silence}:{as_of:%Y%m%d}"
    found: dict[tuple[str, str], int] | None = cache.get(key)
    if found is not None:
        return found
    include = list(campaign.include.values_list("pk", flat=True))
    exclude = list(campaign.exclude.values_list("pk", flat=True))
    audience = audience_sql(include, exclude, as_of)
    with time_limit(), connection.cursor() as cursor:
        sql = _PLACES.format(audience=audience.sql, people=times.people)
        cursor.execute(sql, audience.params | times.params)
        found = {(zone, slot): people for zone, slot, people in cursor.fetchall()}
    cache.set(key, found, FRESH_SECONDS)
    return found


def _own(campaign: Campaign, wall: datetime, zone: str, slot: str, at: datetime) -> datetime:
    """A group's own time, wherever quiet hours or its passing may have moved it to."""
    match campaign.clock:
        case Campaign.Clock.LOCAL:
            return instant_of(wall, known_zone(zone, campaign))
        case Campaign.Clock.STORE:
            return instant_of(wall, known_zone(slot, campaign))
        case Campaign.Clock.BEST:
            return instant_of(wall.replace(hour=int(slot), minute=0), known_zone(zone, campaign))
    return instant_of(wall, zone_of(campaign)) if campaign.crontab else campaign.send_at or at


def _count(found: Foresight, campaign: Campaign, groups: list[Group], at: datetime) -> None:
    found.people = sum(group.people for group in groups)
    late = [group for group in groups if group.expires_at <= max(group.due_at, at)]
    found.too_late = sum(group.people for group in late)
    on_time = [group for group in groups if group not in late]
    at_once = [group for group in on_time if group.own < at and group.due_at <= at]
    found.passed = 0 if _is_moment(campaign) else sum(group.people for group in at_once)
    found.quiet = sum(group.people for group in on_time if group.due_at > max(group.own, at))
    if not _is_moment(campaign):
        _say_span(found, campaign, groups)
    if campaign.clock == Campaign.Clock.BEST:
        _say_hours(found, groups)
    if campaign.throttle_per_hour:
        channels = len(channels_of(campaign)) or 1
        dues = [Due(group.due_at, group.expires_at, group.people * channels) for group in on_time]
        found.departure = departure(dues, campaign.throttle_per_hour)


def _is_moment(campaign: Campaign) -> bool:
    return campaign.clock == Campaign.Clock.MOMENT


def _say_span(found: Foresight, campaign: Campaign, groups: list[Group]) -> None:
    """'from 23:00 today (Auckland) to 22:00 tomorrow (Honolulu)'."""
    ends = [min(groups, key=lambda group: group.own), max(groups, key=lambda group: group.own)]
    by_store = campaign.clock == Campaign.Clock.STORE
    zones = {known_zone(group.slot if by_store else group.zone, campaign) for group in groups}
    found.zones = len(zones)
    first, last = (
        _("{when} ({place})").format(
            when=day_and_time(group.own),
            place=place_of(known_zone(group.slot if by_store else group.zone, campaign)),
        )
        for group in ends
    )
    if ends[0].own == ends[1].own:
        found.span = day_and_time(ends[0].own)
    else:
        found.span = _("from {first} to {last}").format(first=first, last=last)


def _say_hours(found: Foresight, groups: list[Group]) -> None:
    by_hour: dict[int, int] = {}
    for group in groups:
        by_hour[int(group.slot)] = by_hour.get(int(group.slot), 0) + group.people
    top = sorted(by_hour.items(), key=lambda item: (-item[1], item[0]))[:TOP_HOURS]
    found.hours = [(f"{hour}:00", people / (found.people or 1)) for hour, people in top]
