from datetime import UTC, date, datetime, timedelta

import pytest
from django.utils.timezone import now

from customers.imports import cells
from customers.imports.cells import BadCell


@pytest.mark.parametrize(
    "cell", ["2024-12-31", "20241231", "2024/12/31", "31/12/2024", "31.12.2024", "31-12-2024"]
)
def test_dates_are_read_as_people_write_them(cell: str):
    assert cells.day(cell) == date(2024, 12, 31)


def test_a_date_without_time_is_local_midnight(settings):
    settings.TIME_ZONE = "Europe/Rome"

    assert cells.moment("2024-07-01") == datetime(2024, 6, 30, 22, tzinfo=UTC)
    assert cells.moment("2024-07-01T10:30:00Z") == datetime(2024, 7, 1, 10, 30, tzinfo=UTC)
    assert cells.moment("2024-07-01 10:30+02:00") == datetime(2024, 7, 1, 8, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "cell",
    [
        "31/02/2024",
        "2023-02-29",
        "12/31/2024",
        "yesterday",
        "1/2/24",
        "0001-01-01",
        "2024-01-01 25:00",
        "x" * 9999,
    ],
)
def test_dates_that_do_not_exist_are_refused(cell: str):
    with pytest.raises(BadCell):
        cells.moment(cell)


def test_the_future_is_refused_where_only_the_past_makes_sense():
    tomorrow_week = f"{now() + timedelta(days=7):%Y-%m-%d}"

    with pytest.raises(BadCell, match="future"):
        cells.past_moment(tomorrow_week)


@pytest.mark.parametrize("cell", ["IT", "it", "ITA", "Italy", "Italia", "Italien", "italie"])
def test_countries_are_known_by_many_names(cell: str):
    assert cells.country(cell) == "IT"


@pytest.mark.parametrize("cell", ["it", "IT", "it-IT", "it_CH", "Italian", "italiano", "ita"])
def test_languages_are_known_by_many_names(cell: str):
    assert cells.language(cell) == "it"


@pytest.mark.parametrize("cell", ["Narnia", "XX", "ZZ", "EU"])
def test_no_country_is_invented(cell: str):
    with pytest.raises(BadCell):
        cells.country(cell)


@pytest.mark.django_db
def test_time_zones_must_be_known_to_the_database_too():
    assert cells.timezone("europe/rome") == "Europe/Rome"
    for cell in ("Mars/Olympus", "localtime", "Factory/../etc", "posixrules"):
        with pytest.raises(BadCell):
            cells.timezone(cell)


@pytest.mark.parametrize(
    ("cell", "state"),
    [("sì", "granted"), ("SI", "granted"), ("1", "granted"), ("0", "denied"), ("unsubscribed", "revoked")],
)
def test_consents_are_read_as_people_write_them(cell: str, state: str):
    assert cells.consent(cell) == state


def test_a_maybe_is_no_consent():
    with pytest.raises(BadCell):
        cells.consent("forse")


@pytest.mark.parametrize(
    ("cell", "currency", "minor"),
    [
        ("1,234.50", "EUR", 123450),
        ("1.234,50", "EUR", 123450),
        ("1.234.567,8", "EUR", 123456780),
        ("12", "EUR", 1200),
        ("0.00", "EUR", 0),
        ("€ 11,77", "EUR", 1177),
        ("11.77 USD", "USD", 1177),
        ("1'234.50", "CHF", 123450),
        ("1 234,50", "EUR", 123450),
        ("1234", "JPY", 1234),
        ("1.234.567", "EUR", 123456700),
        ("0.125", "KWD", 125),
    ],
)
def test_amounts_become_minor_units(cell: str, currency: str, minor: int):
    assert cells.minor_units(cell, currency) == minor


@pytest.mark.parametrize(
    "cell",
    [
        "-5",
        "(5.00)",
        "abc",
        "12abc",
        "1.234",
        "0.005",
        "1,23,45.6",
        "",
        "9" * 40,
        "1e5",
        "NaN",
        "5 USD",
    ],
)
def test_amounts_that_are_none_or_unclear_are_refused(cell: str):
    with pytest.raises(BadCell):
        cells.minor_units(cell, "EUR")


def test_an_unclear_amount_is_read_when_the_file_says_how():
    assert cells.minor_units("1.234", "EUR", decimal_mark=",") == 123400
    with pytest.raises(BadCell, match="more decimals"):
        cells.minor_units("1.234", "EUR", decimal_mark=".")


@pytest.mark.parametrize(("cell", "value"), [("42", 42), ("0042", "0042"), ("3.5", 3.5), ("red", "red")])
def test_traits_keep_numbers_as_numbers(cell: str, value: object):
    assert cells.trait(cell) == value
