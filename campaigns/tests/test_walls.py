from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest

from campaigns.walls import Cron, NotCron, instant_of, wall_of, zone_names


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("wall", "zone", "instant"),
    [
        # Europe/Rome springs forward on 29 March 2026: what is skipped happens as the clocks jump, at 3:00.
        ("2026-03-29 01:59", "Europe/Rome", "2026-03-29 00:59"),
        ("2026-03-29 02:00", "Europe/Rome", "2026-03-29 01:00"),
        ("2026-03-29 02:30", "Europe/Rome", "2026-03-29 01:00"),
        ("2026-03-29 02:59:59", "Europe/Rome", "2026-03-29 01:00"),
        ("2026-03-29 03:00", "Europe/Rome", "2026-03-29 01:00"),
        ("2026-03-29 10:00", "Europe/Rome", "2026-03-29 08:00"),
        # It falls back on 25 October 2026: what is shown twice happens the first time.
        ("2026-10-25 01:59", "Europe/Rome", "2026-10-24 23:59"),
        ("2026-10-25 02:00", "Europe/Rome", "2026-10-25 00:00"),
        ("2026-10-25 02:30", "Europe/Rome", "2026-10-25 00:30"),
        ("2026-10-25 03:00", "Europe/Rome", "2026-10-25 02:00"),
        # Zones off by half and quarter hours; Lord Howe moves by half an hour only.
        ("2026-06-01 10:00", "Asia/Kolkata", "2026-06-01 04:30"),
        ("2026-06-01 10:00", "Asia/Kathmandu", "2026-06-01 04:15"),
        ("2026-10-04 02:15", "Australia/Lord_Howe", "2026-10-03 15:30"),
        ("2026-04-05 01:45", "Australia/Lord_Howe", "2026-04-04 14:45"),
        # Midnight itself is skipped: Beirut jumps from 0:00 to 1:00.
        ("2026-03-29 00:30", "Asia/Beirut", "2026-03-28 22:00"),
        # Samoa had no 30 December 2011 at all.
        ("2011-12-29 10:00", "Pacific/Apia", "2011-12-29 20:00"),
        ("2011-12-30 10:00", "Pacific/Apia", "2011-12-30 10:00"),
        ("2011-12-31 10:00", "Pacific/Apia", "2011-12-30 20:00"),
        # The ends of the world.
        ("2026-06-01 10:00", "Pacific/Kiritimati", "2026-05-31 20:00"),
        ("2026-06-01 10:00", "Etc/GMT+12", "2026-06-01 22:00"),
        ("2024-02-29 10:00", "Pacific/Auckland", "2024-02-28 21:00"),
    ],
)
def test_a_wall_time_means_one_instant(wall, zone, instant):
    assert instant_of(at(wall), zone) == utc(instant)


@pytest.mark.parametrize("zone", ["Europe/Rome", "Australia/Lord_Howe", "America/New_York", "Asia/Beirut"])
def test_a_later_wall_time_never_happens_before_an_earlier_one(zone):
    walls = [at("2026-01-01") + timedelta(minutes=7) * n for n in range(365 * 206)]
    instants = [instant_of(wall, zone) for wall in walls]
    assert all(before <= after for before, after in pairwise(instants))


def test_every_zone_lies_between_the_earliest_and_the_latest():
    for zone in zone_names():
        for wall in (at("2026-01-15 10:00"), at("2026-07-15 10:00")):
            shift = wall.replace(tzinfo=UTC) - instant_of(wall, zone)
            assert timedelta(hours=-12) <= shift <= timedelta(hours=14), zone


DAILY_AT_HALF_PAST_TWO = ("30", "2", "*", "*", "*")


@pytest.mark.parametrize(
    ("line", "after", "walls"),
    [
        (DAILY_AT_HALF_PAST_TWO, "2026-03-28 12:00", ["2026-03-29 02:30", "2026-03-30 02:30"]),
        (DAILY_AT_HALF_PAST_TWO, "2026-03-29 02:30", ["2026-03-30 02:30"]),
        (DAILY_AT_HALF_PAST_TWO, "2026-10-24 12:00", ["2026-10-25 02:30", "2026-10-26 02:30"]),
        (("0", "10", "29", "2", "*"), "2026-01-01", ["2028-02-29 10:00", "2032-02-29 10:00"]),
        (("0", "10", "29", "2", "*"), "2096-03-01", ["2104-02-29 10:00"]),
        (("0", "10", "29", "*", "*"), "2027-01-30", ["2027-03-29 10:00"]),
        (("0", "10", "31", "*", "*"), "2026-01-01", ["2026-01-31 10:00", "2026-03-31 10:00"]),
        (("0", "9,17", "*", "*", "1"), "2026-06-01 09:00", ["2026-06-01 17:00", "2026-06-08 09:00"]),
        # A day of the month and one of the week must both match: Friday the 13th.
        (("0", "10", "13", "*", "5"), "2026-01-01", ["2026-02-13 10:00", "2026-03-13 10:00"]),
        (("0", "10", "*", "*", "sun"), "2026-06-01", ["2026-06-07 10:00"]),
        (("0", "10", "29", "2", "1"), "2072-03-01", ["2112-02-29 10:00"]),
    ],
)
def test_a_line_of_cron_means_these_walls(line, after, walls):
    found = islice(Cron.parse(*line).walls(at(after)), len(walls))
    assert list(found) == [at(wall) for wall in walls]


def test_a_series_ends_with_its_last_day():
    found = Cron.parse("0", "10", "*", "*", "*").walls(at("2026-06-01 10:00"), date(2026, 6, 3))
    assert list(found) == [at("2026-06-02 10:00"), at("2026-06-03 10:00")]


@pytest.mark.parametrize("zone", ["Europe/Rome", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"])
def test_each_local_day_of_a_daily_job_comes_exactly_once_in_a_year_of_summer_time(zone):
    walls = list(Cron.parse(*DAILY_AT_HALF_PAST_TWO).walls(at("2026-01-01"), date(2026, 12, 31)))
    happened = [instant_of(wall, zone).astimezone(ZoneInfo(zone)).date() for wall in walls]
    assert happened == [date(2026, 1, 1) + timedelta(days=n) for n in range(365)]


@pytest.mark.parametrize(
    "line",
    [
        ("x", "10", "*", "*", "*"),
        ("0", "25", "*", "*", "*"),
        ("0", "10", "", "*", "*"),
        ("0", "10", "30", "2", "*"),
        ("*/5", "10", "*", "*", "*"),
        ("0,30", "10", "*", "*", "*"),
    ],
)
def test_a_line_that_cannot_be_read_or_comes_too_often_is_refused(line):
    with pytest.raises(NotCron):
        Cron.parse(*line)


def test_a_wall_is_read_back_where_it_was_shown():
    assert wall_of(utc("2026-10-25 00:30"), "Europe/Rome") == at("2026-10-25 02:30")
