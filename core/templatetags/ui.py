"""What every template may say without a {% load %}: icons, sparklines, numbers, money, times and names."""

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from babel import Locale
from babel.dates import format_timedelta
from babel.numbers import format_currency, format_decimal, format_percent, get_currency_precision
from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language, gettext, to_locale

register = template.Library()

NOTHING = "–"
HUES = 6
CHANNEL_ICONS = {
    "email": "mail",
    "sms": "message",
    "whatsapp": "brand-whatsapp",
    "push": "bell",
    "web": "world",
    "store": "building-store",
    "app": "device-mobile",
    "phone": "phone",
    "marketplace": "shopping-bag",
    "social": "heart",
    "ads": "target",
}
# What stands in a User-Agent header, and what it means; the first hit wins.
BROWSERS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("CriOS/", "Chrome"),
    ("Safari/", "Safari"),
)
SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


@register.simple_tag
def icon(name: str, size: int | None = None, label: str = "") -> SafeString:
    """Draw an icon of the sprite; with a label it is an image with a name, without one it is decoration."""
    box = format_html(' width="{0}" height="{0}"', size) if size else ""
    named = format_html('role="img" aria-label="{}"', label) if label else 'aria-hidden="true"'
    return format_html(
        '<svg class="icon"{} {}><use href="{}#{}"/></svg>',
        box,
        SafeString(named),
        static("icons.svg"),
        name,
    )


@register.simple_tag
def sparkline(values: Sequence[float], width: int = 76, height: int = 30, css_class: str = "") -> SafeString:
    """Draw a series as a small line: no script, follows the text's colour, prints. Needs two values."""
    numbers = [float(value) for value in values]
    if len(numbers) < 2:
        return SafeString("")
    low, span = min(numbers), (max(numbers) - min(numbers)) or 1.0
    step = (width - 4) / (len(numbers) - 1)
    points = [
        (2 + index * step, height - 4 - (number - low) / span * (height - 8))
        for index, number in enumerate(numbers)
    ]
    line = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    x, y = points[-1]
    return format_html(
        '<svg class="spark {css_class}" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' aria-hidden="true"><path class="area" d="{line} L{x} {height} L2 {height}Z"/>'
        '<path class="line" d="{line}"/><circle cx="{x}" cy="{y}" r="2.5"/></svg>',
        css_class=css_class,
        width=width,
        height=height,
        line=line,
        x=f"{x:.1f}",
        y=f"{y:.1f}",
    )


@register.filter
def num(value: float | Decimal | None, decimals: int = 0) -> str:
    """Group a number as the reader's language does: 12,480 or 12.480."""
    if value is None or value == "":
        return NOTHING
    pattern = "#,##0" + ("." + "0" * decimals if decimals else "")
    return format_decimal(value, format=pattern, locale=_locale())


@register.filter
def percent(value: float | Decimal | None, decimals: int = 1) -> str:
    """Show a share as a percentage: 0.123 is 12.3%."""
    if value is None or value == "":
        return NOTHING
    pattern = "#,##0" + ("." + "0" * decimals if decimals else "") + "%"
    return format_percent(value, format=pattern, locale=_locale())


@register.filter
def money(minor: int | None, currency: str) -> str:
    """Show an amount in minor units in its currency: 123450 EUR is €1,234.50, 1.234,50 € in Italian."""
    if minor is None or minor == "":
        return NOTHING
    return format_currency(_major(minor, currency), currency, locale=_locale())


@register.filter
def money_whole(minor: int | None, currency: str) -> str:
    """Show an amount without its cents, for figures read at a glance: €1,235."""
    if minor is None or minor == "":
        return NOTHING
    return format_currency(
        _major(minor, currency), currency, locale=_locale(), currency_digits=False, format=_whole()
    )


@register.filter
def money_micros(micros: int | None, currency: str) -> str:
    """Show an amount in millionths of a unit: 7500 USD is $0.0075; from one unit on, as money is shown."""
    if micros is None or micros == "" or not currency:
        return NOTHING
    amount = Decimal(micros) / 1_000_000
    is_small = amount != 0 and abs(amount) < 1
    return format_currency(amount, currency, locale=_locale(), decimal_quantization=not is_small)


@register.filter
def ago(moment: datetime | None) -> str:
    """Say how long ago, shortly; after a week the date says more."""
    if moment is None:
        return gettext("never")
    elapsed = moment - timezone.now()
    seconds = abs(elapsed.total_seconds())
    if seconds < 60:
        return gettext("just now")
    if seconds >= 7 * 86_400:
        return date_format(timezone.localtime(moment), "SHORT_DATE_FORMAT")
    return format_timedelta(elapsed, add_direction=True, format="short", threshold=1, locale=_locale())


@register.filter
def country_name(code: str | None) -> str:
    """Name a country of ISO 3166 in the reader's language; an unknown code stays as it is."""
    return str(_locale().territories.get(code or "", code or NOTHING))


@register.filter
def language_name(code: str | None) -> str:
    """Name a language of ISO 639 in the reader's language, as a heading would."""
    name = language_in_text(code)
    return name[:1].upper() + name[1:]


@register.filter
def language_in_text(code: str | None) -> str:
    """The same as it stands inside a sentence."""
    return str(_locale().languages.get(code or "", code or NOTHING))


@register.filter
def initials(name: object) -> str:
    """Two letters for an avatar."""
    words = re.findall(r"\w+", str(name or "").split("@")[0])
    chosen = words[:1] + words[1:][-1:]
    return "".join(word[0] for word in chosen).upper() or "?"


@register.filter
def hue(name: object) -> int:
    """One of six colours, always the same for the same name."""
    return sum(ord(letter) for letter in str(name or "")) % HUES


@register.filter
def channel_icon(channel: str) -> str:
    """The icon of a channel, or of a place where people buy."""
    return CHANNEL_ICONS.get(str(channel), "send")


@register.filter
def browser_name(user_agent: str) -> str:
    """Name the browser and the system of a User-Agent header, as far as people care."""
    browser = next((name for mark, name in BROWSERS if mark in user_agent), gettext("Browser"))
    system = next((name for mark, name in SYSTEMS if mark in user_agent), "")
    return f"{browser}, {system}" if system else browser


@register.filter
def on_color(color: str) -> str:
    """Black or white, whichever is easier to read on a #rrggbb colour (WCAG relative luminance)."""
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", color or ""):
        return "#ffffff"
    channels = (int(color[start : start + 2], 16) / 255 for start in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "#ffffff" if 1.05 / (luminance + 0.05) >= (luminance + 0.05) / 0.05 else "#000000"


def _locale() -> Locale:
    return Locale.parse(to_locale(get_language() or "en"))


def _major(minor: int, currency: str) -> Decimal:
    return Decimal(minor).scaleb(-get_currency_precision(currency))


def _whole() -> str:
    """The locale's pattern for money, its decimals cut off."""
    pattern: str = _locale().currency_formats["standard"].pattern
    return pattern.replace(".00", "")
