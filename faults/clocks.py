"""Clocks that jump: every local occurrence of a series is launched exactly once, whoever rings how often."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

from . import house
from .report import Report, Scale

# A line of cron, the zone it is read in, and days between which its clocks jump or a rare day lies.
SERIES = (
    ("30 2 * * *", "Europe/Rome", date(2027, 3, 26), date(2027, 3, 30)),
    ("30 2 * * *", "Europe/Rome", date(2027, 10, 29), date(2027, 11, 2)),
    ("0 * * * *", "Europe/Rome", date(2027, 3, 28), date(2027, 3, 28)),
    ("0 * * * *", "Europe/Rome", date(2027, 10, 31), date(2027, 10, 31)),
    ("15 2 * * *", "Australia/Lord_Howe", date(2027, 4, 3), date(2027, 4, 5)),
    ("45 23 * * *", "Asia/Kathmandu", date(2027, 6, 1), date(2027, 6, 3)),
    ("0 10 29 2 *", "Europe/Rome", date(2028, 2, 27), date(2028, 3, 2)),
)


def f14_clocks(scale: Scale) -> Report:
    """Ring every quarter of an hour, twice at once, across each jump; compare with the days on the wall."""
    report = Report()
    house.make_crowd(1)
    for line, zone, first, last in SERIES if not scale.short else SERIES[:3]:
        launched, wanted = _live_through(line, zone, first, last)
        report.exactly(f"{line} in {zone}: launched", len(launched), len(wanted))
        report.exactly(f"{line} in {zone}: wall times doubled or missed", len(set(launched) ^ set(wanted)), 0)
    return report


def _live_through(line: str, zone: str, first: date, last: date) -> tuple[list[datetime], list[datetime]]:
    """The wall times launched, with repeats, and those a calendar on the wall shows."""
    from django.db import connection
    from django_celery_beat.models import CrontabSchedule

    from campaigns.models import Message, Occurrence
    from campaigns.services import cancel_campaign, launch_due, schedule_campaign
    from campaigns.tests.factories import make_campaign
    from core.tests.factories import make_user

    minute, hour, month_day, month, week_day = line.split()
    crontab = CrontabSchedule.objects.create(
        minute=minute,
        hour=hour,
        day_of_month=month_day,
        month_of_year=month,
        day_of_week=week_day,
        timezone=zone,
    )
    by = make_user()
    campaign = make_campaign(crontab=crontab, wall_date=first, repeat_until=last)
    schedule_campaign(campaign.pk, send_at=None, by=by)

    def ring(at: datetime) -> None:
        launch_due(at=at)
        connection.close()

    moment = datetime(first.year, first.month, first.day, tzinfo=UTC) - timedelta(hours=15)
    end = datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(hours=39)
    with ThreadPoolExecutor(2) as beats:
        while moment < end:
            list(beats.map(ring, [moment, moment]))
            moment += timedelta(minutes=15)
    launched = Occurrence.objects.filter(campaign=campaign, state="launched")
    messages = Message.objects.filter(campaign=campaign).count()
    assert messages == launched.count(), f"{messages} messages for {launched.count()} occurrences"
    campaign.refresh_from_db()
    if campaign.status in ("sending", "paused"):
        cancel_campaign(campaign.pk, by=by)
    walls = [datetime.combine(one.local_date, one.local_time) for one in launched]
    return walls, _on_the_wall(line, first, last)


def _on_the_wall(line: str, first: date, last: date) -> list[datetime]:
    """Every day and hour the line means, as somebody without any clock would list them."""
    minute, hour, month_day, month, _ = line.split()
    found = []
    for day in (first + timedelta(days=n) for n in range((last - first).days + 1)):
        if month_day not in ("*", str(day.day)) or month not in ("*", str(day.month)):
            continue
        hours = range(24) if hour == "*" else [int(hour)]
        found += [datetime(day.year, day.month, day.day, one, int(minute)) for one in hours]  # noqa: DTZ001
    return found
