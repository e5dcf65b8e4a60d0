"""The short ways to a normalised address say what the libraries say, or nothing."""

from contextlib import suppress

import phonenumbers
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from customers import addresses
from customers.addresses import InvalidIdentifier

REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)
WRITINGS = ("{}", "+{}", "00{}", "0{}", "00 {}", "+ {}", "({}", "1{}", "-{}", "011{}")
boxes = st.text("abcXYZ019._+-'é\"@ ", min_size=1, max_size=70)
domains = st.one_of(
    st.sampled_from(["example.it", "EXAMPLE.com", "società.it", "xn--societ-nta.it", "localhost", "a.test"]),
    st.text("abcZ09.-_éßİ", min_size=1, max_size=70),
)


def by_library(normalise, *given: str) -> str | None:
    with suppress(InvalidIdentifier):
        return normalise(*given)
    return None


@settings(max_examples=1_000, deadline=None)
@given(boxes, domains)
@example("Anna.Rossi+1", "Example.it")
@example("x" * 64, "example.it")
@example("a.", "example.it")
@example("a", "-b.it")
def test_a_usual_email_is_what_the_library_makes_of_it(box: str, domain: str):
    address = f"{box}@{domain}".strip()
    common = addresses._common_email(address)

    assert not common or common == by_library(addresses._any_email, address)


@settings(max_examples=2_000, deadline=None)
@given(
    st.sampled_from(REGIONS),
    st.sampled_from(WRITINGS),
    st.text("0123456789", min_size=1, max_size=17),
    st.lists(st.tuples(st.integers(0, 20), st.sampled_from(" -./()+")), max_size=4),
)
def test_a_usual_phone_is_what_the_library_makes_of_it(country: str, writing: str, digits: str, marks):
    value = writing.format(digits)
    for position, mark in marks:
        value = value[:position] + mark + value[position:]
    value = value.strip()
    common = addresses._common_phone(value, country)

    assert not common or common == by_library(addresses._any_phone, value, country)


@pytest.mark.parametrize("country", REGIONS)
def test_every_countrys_numbers_are_the_librarys_however_written(country: str):
    kinds = (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE)
    found = [phonenumbers.example_number_for_type(country, kind) for kind in kinds]
    for number in filter(None, found):
        for style in range(3):  # E.164, international, national.
            value = phonenumbers.format_number(number, style)
            for home in (country, "IT", "US", "FR", "AQ"):
                for written in (value, f"00{value.lstrip('+')}", value.lstrip("+0"), f"1{value}"):
                    common = addresses._common_phone(written, home)
                    assert not common or common == by_library(addresses._any_phone, written, home)


def test_the_usual_is_usual():
    assert addresses._common_email("Anna.Rossi@Example.IT") == "anna.rossi@example.it"
    assert addresses._common_email("eva@società.it") == "eva@xn--societ-nta.it"
    written = ("+39 347 1234567", "0039 347 1234567", "347/1234567", "(02) 1234-5678", "+1 (586) 555-0189")
    assert all(addresses._common_phone(value, "IT") for value in written)
