"""When a campaign goes out, in words: for its pages, the wizard and the calendar."""

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta

from django.utils.dates import WEEKDAYS
from django.utils.formats import date_format, time_format
from django.utils.text import get_text_list
from django.utils.timezone import localdate, localtime
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django_celery_beat.models import CrontabSchedule

from .models import Campaign
from .walls import Cron, NotCron

EVERY_DAY = frozenset(range(7))
EVERY_MONTH_DAY = frozenset(range(1, 32))
EVERY_MONTH = frozenset(range(1, 13))


def schedule_words(campaign: Campaign) -> str:
    """One sentence without its full stop: 'Every Monday at 10:00, on each person's own clock'."""
    if campaign.crontab:
        parts = [repeat_words(campaign), _clock_words(campaign, zone=str(campaign.crontab.timezone))]
        if campaign.wall_date and campaign.wall_date > localdate():
            parts.append(_("from {day}").format(day=date_format(campaign.wall_date, "DATE_FORMAT")))
        if campaign.repeat_until:
            parts.append(_("until {day}").format(day=date_format(campaign.repeat_until, "DATE_FORMAT")))
        return ", ".join(parts)
    if campaign.clock == Campaign.Clock.MOMENT:
        return _moment_words(campaign)
    if campaign.wall_date is None:
        return _("No day is chosen yet")
    day = date_format(campaign.wall_date, "DATE_FORMAT")
    if campaign.clock == Campaign.Clock.BEST or campaign.wall_time is None:
        return ", ".join([day, _clock_words(campaign)])
    at = _("{day} at {time}").format(day=day, time=_time(campaign.wall_time))
    return ", ".join([at, _clock_words(campaign)])


def repeat_words(campaign: Campaign) -> str:
    """How a series repeats: 'Every day at 10:00'; without the hour where each person has their own."""
    schedule = campaign.crontab
    assert schedule is not None
    try:
        cron = Cron.of(schedule)
    except NotCron:
        return cron_line(schedule)
    days = _days_words(cron)
    if days is None or len(cron.hours) > 1:
        return _("As the line of cron “{line}” says").format(line=cron_line(schedule))
    if campaign.clock == Campaign.Clock.BEST:
        return days
    at = time(min(cron.hours), min(cron.minutes))
    return _("{days} at {time}").format(days=days, time=_time(at))


def cron_line(schedule: CrontabSchedule) -> str:
    """The five fields as cron writes them."""
    return " ".join(
        (
            schedule.minute,
            schedule.hour,
            schedule.day_of_month,
            schedule.month_of_year,
            schedule.day_of_week,
        )
    )


def _days_words(cron: Cron) -> str | None:
    """The days of a line of cron as people say them; None when they would not."""
    if cron.months != EVERY_MONTH:
        return None
    if cron.month_days == EVERY_MONTH_DAY:
        if cron.week_days == EVERY_DAY:
            return _("Every day")
        # WEEKDAYS begins with Monday as 0, cron's numbers with Sunday.
        names = [_inside(WEEKDAYS[day]) for day in range(7) if (day + 1) % 7 in cron.week_days]
        return _("Every {days}").format(days=get_text_list(names, _("and")))
    if len(cron.month_days) == 1 and cron.week_days == EVERY_DAY:
        return _("On day {number} of every month").format(number=min(cron.month_days))
    return None


def _inside(weekday: object) -> str:
    """A weekday within a sentence: only English keeps its capital there."""
    return str(weekday) if (get_language() or "en").startswith("en") else str(weekday).lower()


def _clock_words(campaign: Campaign, *, zone: str = "") -> str:
    match campaign.clock:
        case Campaign.Clock.LOCAL:
            return _("on each person's own clock")
        case Campaign.Clock.STORE:
            return _("on the clock of each person's store")
        case Campaign.Clock.BEST:
            return _("at each person's best hour")
    return _("time of {place}").format(place=place_of(zone))


def _moment_words(campaign: Campaign) -> str:
    if campaign.send_at is None:
        return _("As soon as it is launched")
    return date_format(localtime(campaign.send_at), "DATETIME_FORMAT")


def day_and_time(at: datetime, today: date | None = None) -> str:
    """An instant on the house's clock, as one says it: '10:00 today', '9:00 tomorrow', '3 Dec 2026, 9:00'."""
    local, today = localtime(at), today or localdate()
    if local.date() == today:
        return _("{time} today").format(time=_time(local.time()))
    if local.date() == today + timedelta(days=1):
        return _("{time} tomorrow").format(time=_time(local.time()))
    return date_format(local, "DATETIME_FORMAT")


def wall_words(wall: datetime, *, with_time: bool = True) -> str:
    """A wall time with its weekday: 'Monday 23 Nov 2026, 10:00'."""
    day = _("{weekday} {day}").format(
        weekday=WEEKDAYS[wall.weekday()], day=date_format(wall.date(), "DATE_FORMAT")
    )
    return f"{day}, {_time(wall.time())}" if with_time else day


def place_of(zone: str) -> str:
    """The city a time zone is named after: 'Pacific/Auckland' is Auckland."""
    return zone.rsplit("/", 1)[-1].replace("_", " ")


def listed(words: Iterable[str]) -> str:
    """'one, two and three'."""
    return str(get_text_list(list(words), _("and")))


def _time(at: time) -> str:
    return str(time_format(at, "TIME_FORMAT"))
