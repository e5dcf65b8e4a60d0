"""Wall clocks: from a day and an hour as a clock shows them to the instant they mean, and lines of cron.

A wall time is a naive datetime. Which instant it means depends on a zone, and twice a year that needs a
rule. Ours is the one cron(8) of Debian follows for its daily jobs: what the clocks skip happens at the
moment they jump, and what they show twice happens the first time. So every wall time happens exactly once
in every zone, and a later wall time never happens before an earlier one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from celery.schedules import ParseException, crontab
from django.utils.translation import gettext as _
from django_celery_beat.models import CrontabSchedule

from core.errors import DomainError

# The clocks of the world show a wall time between these, ahead of UTC and behind it.
EARLIEST, LATEST = timedelta(hours=14), timedelta(hours=12)
# A 29 February that is a Monday may be forty years away.
HORIZON = timedelta(days=41 * 366)


class NotCron(DomainError):
    """A line of cron that cannot be read, or means more than once an hour."""


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Every time zone Python knows by name."""
    return frozenset(available_timezones())


def instant_of(wall: datetime, zone: str) -> datetime:
    """The instant (UTC) a clock in this zone shows `wall`; see the rule of this module."""
    place = ZoneInfo(zone)
    at = wall.replace(tzinfo=place).astimezone(UTC)  # Of two, the first.
    if wall_of(at, zone) == wall:
        return at
    # The clocks skip it. `at` counts on from before the jump, so it lies after it; fold=1 lies before.
    before, after = wall.replace(tzinfo=place, fold=1).astimezone(UTC), at
    shown = before.astimezone(place).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) / 2
        if middle.astimezone(place).utcoffset() == shown:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)


def wall_of(at: datetime, zone: str) -> datetime:
    """What a clock in this zone shows at an instant."""
    return at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


@dataclass(frozen=True)
class Cron:
    """A line of cron, its fields opened into the numbers they mean. All five must match, as Celery has it:
    a day of the month and a day of the week together mean days that are both.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    month_days: frozenset[int]
    months: frozenset[int]
    week_days: frozenset[int]  # 0 is Sunday.

    @classmethod
    def of(cls, schedule: CrontabSchedule) -> "Cron":
        """The fields of a stored schedule; its zone is its own affair. Raises NotCron."""
        return cls.parse(
            schedule.minute,
            schedule.hour,
            schedule.day_of_month,
            schedule.month_of_year,
            schedule.day_of_week,
        )

    @classmethod
    def parse(cls, minute: str, hour: str, day_of_month: str, month_of_year: str, day_of_week: str) -> "Cron":
        """Read the five fields. Raises NotCron for what Celery cannot read and for more than once an hour."""
        try:
            line: Any = crontab(minute, hour, day_of_week, day_of_month, month_of_year)
        except (ParseException, ValueError) as error:
            raise NotCron(_("This line of cron cannot be read: {reason}").format(reason=error)) from error
        if len(line.minute) != 1:
            raise NotCron(_("A campaign repeats at most once an hour: write one minute."))
        return cls(
            *map(
                frozenset,
                (line.minute, line.hour, line.day_of_month, line.month_of_year, line.day_of_week),
            )
        )

    def walls(self, after: datetime, until: date | None = None) -> Iterator[datetime]:
        """Every wall time of this line later than `after`, in order, up to the day `until`.

        Endless without `until`, but for lines that mean no day within forty years.
        """
        day, last_found = after.date(), after.date()
        while day - last_found <= HORIZON and (until is None or day <= until):
            if day.month not in self.months:
                day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
                continue
            if day.day in self.month_days and day.isoweekday() % 7 in self.week_days:
                last_found = day
                yield from (wall for wall in self._walls_on(day) if wall > after)
            day += timedelta(days=1)

    def _walls_on(self, day: date) -> list[datetime]:
        return [
            datetime.combine(day, time(hour, minute))
            for hour in sorted(self.hours)
            for minute in sorted(self.minutes)
        ]
