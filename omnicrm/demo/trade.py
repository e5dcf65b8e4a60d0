"""A year of orders shaped like trade: weekends, Christmas, Black Friday, the sales, a quiet August."""

import csv
from bisect import bisect_left
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from itertools import accumulate
from math import exp
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

from .people import Person

ROME = ZoneInfo("Europe/Rome")
HEADER = ("Order number", "Order date", "Customer ID", "Total", "Currency", "Items", "Channel", "Store")
DAYS = 395
WEEKDAYS = (0.78, 0.8, 0.9, 1.0, 1.2, 1.6, 1.05)
TYPICAL_CENTS = 6_200
# Hours a shop is open and how busy they are; the site sleeps little and is busiest in the evening.
SHOP_HOURS = dict(zip(range(10, 20), (4, 7, 8, 5, 4, 5, 7, 9, 10, 7), strict=True))
WEB_HOURS = dict(zip(range(7, 24), (2, 3, 4, 5, 5, 5, 6, 6, 5, 5, 5, 6, 7, 9, 12, 12, 7), strict=True))


def day_weight(day: date, today: date) -> float:
    """How much is sold on a day, 1.0 being an ordinary Thursday."""
    growth = exp(-0.14 * (today - day).days / 365)
    return WEEKDAYS[day.weekday()] * _season(day) * growth


def _season(day: date) -> float:
    black_friday = _black_friday(day.year)
    if day == black_friday:
        return 3.2
    if timedelta() < black_friday - day <= timedelta(days=4) or timedelta() < day - black_friday <= timedelta(
        3
    ):
        return 1.9
    if day.month == 12 and day.day <= 24:
        return 1.4 + day.day / 24
    if day.month == 12 and day.day >= 25:
        return 0.5
    if day.month == 1 and 5 <= day.day <= 25:  # Winter sales open around Epiphany.
        return 1.9 - (day.day - 5) * 0.04
    if day.month == 7 and day.day <= 24:  # Summer sales open on the first Saturday of July.
        return 1.7 - day.day * 0.025
    if day.month == 8:
        return 0.55 if 7 <= day.day <= 24 else 0.75
    return 1.0


def _black_friday(year: int) -> date:
    """The day after the fourth Thursday of November."""
    first = date(year, 11, 1)
    return first + timedelta(days=(3 - first.weekday()) % 7 + 21 + 1)


def write_orders(path: Path, people: Sequence[Person], *, count: int, now: datetime) -> None:
    """`count` orders up to now, and a few rows no till can have meant."""
    random = Random(407)  # noqa: S311 - the same trade every time
    now = now.astimezone(ROME)
    days = [now.date() - timedelta(days=ago) for ago in range(DAYS, -1, -1)]
    daily = [day_weight(day, now.date()) for day in days]
    daily[-1] *= min(max((now.hour - 7) / 14, 0.01), 1)  # Today has only come this far.
    cumulated = list(accumulate(daily))
    spans = [_span(person, days, cumulated) for person in people]
    weights = [
        person.weight * max(until - since, 0.0) for person, (since, until) in zip(people, spans, strict=True)
    ]
    placed = []
    for person, (since, until) in random.choices(list(zip(people, spans, strict=True)), weights, k=count):
        index = bisect_left(cumulated, random.uniform(since, until))
        placed.append(_order(person, days[min(index, DAYS)], now, random))
    placed.sort(key=lambda order: order[0])
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for number, (_at, *cells) in enumerate(placed, start=1):
            writer.writerow([f"{'W' if cells[4] == 'web' else 'R'}-{100_000 + number}", *cells])
        writer.writerows(_wrong_rows(now))


def _span(person: Person, days: Sequence[date], cumulated: Sequence[float]) -> tuple[float, float]:
    """The part of the year's trade this person may have a share in."""
    first = max(0, (person.joined - days[0]).days)
    last = min((person.stopped - days[0]).days if person.stopped else DAYS, DAYS)
    return (cumulated[first - 1] if first else 0.0), cumulated[max(last, 0)] if last >= first else 0.0


def _order(person: Person, day: date, now: datetime, random: Random) -> tuple[datetime, *tuple[str, ...]]:
    in_shop = bool(person.store) and random.random() < 0.68
    channel = "store" if in_shop else random.choices(("web", "phone"), (96, 4))[0]
    hours = SHOP_HOURS if in_shop else WEB_HOURS
    hour = random.choices(list(hours), list(hours.values()))[0]
    at = datetime.combine(day, time(hour, random.randrange(60), random.randrange(60)), tzinfo=ROME)
    if at > now:  # Not yet: today has only come this far.
        midnight = datetime.combine(day, time(), tzinfo=ROME)
        at = midnight + (now - midnight) * random.random()
    pieces = 1 + min(int(random.expovariate(1.1)), 7)
    cents = TYPICAL_CENTS * random.lognormvariate(0, 0.55) * (0.65 + 0.35 * pieces)
    if day.month in (1, 7):
        cents *= 0.8
    total = max(round(cents / 500) * 500 - random.choice((0, 10, 100)), 490)
    store = ""
    if in_shop:
        store = person.store if random.random() < 0.88 else random.choice(("milano", "roma", "torino"))
    return at, at.isoformat(), person.number, f"{total / 100:.2f}", "EUR", str(pieces), channel, store


def _wrong_rows(now: datetime) -> list[list[str]]:
    at = (now - timedelta(days=3)).isoformat()
    return [
        ["W-900001", at, "CO99999", "59.00", "EUR", "1", "web", ""],
        ["R-900002", at, "CO00001", "-35.00", "EUR", "1", "store", "milano"],
        ["R-900003", "30/02/2026", "CO00002", "42.00", "EUR", "1", "store", "roma"],
        ["W-900004", at, "CO00003", "", "EUR", "2", "web", ""],
    ]
