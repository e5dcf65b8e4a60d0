import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.template import Context, Template
from django.utils import timezone, translation

from core import navigation
from core.templatetags import ui

NBSP = "\N{NO-BREAK SPACE}"


@pytest.fixture(autouse=True)
def plain_static_files(settings):
    """Tests run without collectstatic, so without its manifest."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}


def render(source, **context):
    return Template(source).render(Context(context)).strip()


def sprite_names():
    sprite = Path(settings.BASE_DIR / "static" / "icons.svg").read_text()
    return set(re.findall(r'<symbol id="([^"]+)"', sprite))


def test_an_icon_without_a_label_is_decoration():
    drawn = render('{% icon "mail" %}')
    assert 'aria-hidden="true"' in drawn
    assert "icons" in drawn
    assert '#mail"' in drawn


def test_an_icon_with_a_label_is_an_image_with_that_name_escaped():
    drawn = render('{% icon "mail" 16 label=label %}', label='<"Email">')
    assert 'role="img" aria-label="&lt;&quot;Email&quot;&gt;"' in drawn
    assert 'width="16" height="16"' in drawn


def test_every_icon_a_template_names_is_in_the_sprite():
    drawn = re.compile(r'{% icon "([^"]+)"')
    named = re.compile(r'icon_name="([^"]+)"')
    missing = [
        f"{path.name}: {name}"
        for path in Path(settings.BASE_DIR / "templates").rglob("*.html")
        for pattern in (drawn, named)
        for name in pattern.findall(path.read_text())
        if name not in sprite_names()
    ]
    assert missing == []


def test_every_icon_python_names_is_in_the_sprite():
    items = [item.icon for section in navigation.SECTIONS for item in section.items]
    assert {*items, *ui.CHANNEL_ICONS.values()} <= sprite_names()


def test_a_sparkline_is_drawn_from_left_to_right_and_high_is_up():
    drawn = render("{% sparkline values 100 20 %}", values=[1, 3, 2])
    assert 'd="M2.0 16.0 L50.0 4.0 L98.0 10.0"' in drawn


@pytest.mark.parametrize("values", [[], [5]])
def test_a_sparkline_needs_two_values(values):
    assert render("{% sparkline values %}", values=values) == ""


def test_a_flat_sparkline_divides_by_nothing():
    assert "<svg" in render("{% sparkline values %}", values=[4, 4, 4])


@pytest.mark.parametrize(
    ("language", "minor", "currency", "shown"),
    [
        ("en", 123_450, "EUR", "€1,234.50"),
        ("it", 123_450, "EUR", f"1.234,50{NBSP}€"),
        ("en", 1_234, "JPY", "¥1,234"),
        ("en", -99, "EUR", "-€0.99"),
        ("en", None, "EUR", "–"),
    ],
)
def test_money_is_minor_units_in_the_readers_language(language, minor, currency, shown):
    with translation.override(language):
        assert ui.money(minor, currency) == shown


@pytest.mark.parametrize(("language", "shown"), [("en", "€1,235"), ("it", f"1.235{NBSP}€")])
def test_whole_money_leaves_the_cents_out(language, shown):
    with translation.override(language):
        assert ui.money_whole(123_460, "EUR") == shown


@pytest.mark.parametrize(
    ("language", "micros", "currency", "shown"),
    [
        ("en", 7_500, "USD", "$0.0075"),
        ("en", 75_500_000, "USD", "$75.50"),
        ("en", 0, "USD", "$0.00"),
        ("it", 7_500, "USD", "0,0075 USD"),
        ("en", None, "USD", "–"),
        ("en", 5, "", "–"),
    ],
)
def test_a_price_far_below_a_cent_keeps_its_figures(language, micros, currency, shown):
    with translation.override(language):
        assert ui.money_micros(micros, currency).replace("\xa0", " ") == shown


@pytest.mark.parametrize(("language", "shown"), [("en", "12,480"), ("it", "12.480")])
def test_numbers_are_grouped(language, shown):
    with translation.override(language):
        assert ui.num(12_480) == shown


def test_numbers_may_have_decimals_or_be_missing():
    assert ui.num(3.14159, 2) == "3.14"
    assert ui.num(None) == "–"


@pytest.mark.parametrize(("language", "shown"), [("en", "12.3%"), ("it", "12,3%")])
def test_a_share_becomes_a_percentage(language, shown):
    with translation.override(language):
        assert ui.percent(0.123) == shown


@pytest.mark.parametrize(
    ("language", "elapsed", "shown"),
    [
        ("en", timedelta(seconds=20), "just now"),
        ("en", timedelta(minutes=5), "5 min. ago"),
        ("it", timedelta(hours=3), "3 h fa"),
        ("en", timedelta(days=-2, seconds=-5), "in 2 days"),
    ],
)
def test_ago_is_short(language, elapsed, shown):
    with translation.override(language):
        assert ui.ago(timezone.now() - elapsed) == shown


def test_ago_becomes_a_date_after_a_week():
    moment = timezone.now() - timedelta(days=30)
    assert str(timezone.localtime(moment).year) in ui.ago(moment)


def test_countries_and_languages_have_names_in_the_readers_language():
    with translation.override("it"):
        assert ui.country_name("DE") == "Germania"
        # Django's own filter of this name always says "German".
        assert render("{{ code|language_name }}", code="de") == "Tedesco"
        assert ui.language_in_text("de") == "tedesco"
    assert ui.country_name("QQ") == "QQ"


@pytest.mark.parametrize(
    ("name", "letters"),
    [("Chiara Moretti", "CM"), ("Anna Maria de Luca", "AL"), ("marta@example.com", "M"), ("", "?")],
)
def test_initials_are_the_first_and_the_last_name(name, letters):
    assert ui.initials(name) == letters


def test_a_name_keeps_its_hue():
    assert ui.hue("Chiara Moretti") == ui.hue("Chiara Moretti")
    assert {ui.hue(str(number)) for number in range(100)} == set(range(ui.HUES))


@pytest.mark.parametrize(
    ("user_agent", "shown"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142.0 Safari/537.36", "Chrome, Linux"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1",
            "Safari, iPhone",
        ),
        ("curl/8.5", "Browser"),
    ],
)
def test_browsers_have_names_people_know(user_agent, shown):
    assert ui.browser_name(user_agent) == shown


@pytest.mark.parametrize(
    ("color", "text"), [("#ffcc00", "#000000"), ("#3f5bd9", "#ffffff"), ("not a colour", "#ffffff")]
)
def test_text_on_a_colour_is_what_can_be_read(color, text):
    assert ui.on_color(color) == text
