"""The colours of static/css/tokens.css, measured: WCAG 2.2 AA in the light and in the dark."""

import re
from pathlib import Path

import pytest
from django.conf import settings

TEXT, GRAPHIC = 4.5, 3.0
SURFACES = ("bg", "surface", "surface-2", "surface-3", "raised")
PAIRS = [
    *((text, surface, TEXT) for text in ("text", "text-2", "text-3") for surface in SURFACES),
    *(("accent", surface, TEXT) for surface in ("bg", "surface", "surface-2", "raised", "accent-soft")),
    *(("text", f"{state}-soft", TEXT) for state in ("accent", "ok", "warn", "bad")),
    *((state, f"{state}-soft", TEXT) for state in ("ok", "warn", "bad")),
    *((state, surface, TEXT) for state in ("ok", "warn", "bad") for surface in ("surface", "surface-2")),
    ("text-2", "accent-soft", TEXT),
    ("on-ink", "ink", TEXT),
    ("on-ink", "ink-hover", TEXT),
    ("on-accent", "accent-solid", TEXT),
    ("on-accent", "accent-hover", TEXT),
    ("on-accent", "ok-button", TEXT),
    ("on-accent", "ok-button-hover", TEXT),
    ("on-accent", "bad-button", TEXT),
    ("on-accent", "bad-button-hover", TEXT),
    ("on-toast", "toast", TEXT),
    ("toast-action", "toast", TEXT),
    ("control", "surface", GRAPHIC),
    ("control", "bg", GRAPHIC),
    ("accent-solid", "surface", GRAPHIC),
    *((f"{state}-solid", "surface", GRAPHIC) for state in ("ok", "warn", "bad")),
    *(
        (f"c-{channel}", "surface", GRAPHIC)
        for channel in ("email", "sms", "whatsapp", "push", "store", "web", "phone", "ads")
    ),
]


def tokens(theme):
    source = Path(settings.BASE_DIR / "static" / "css" / "tokens.css").read_text()
    both = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\);", source)
    same = re.findall(r"--([\w-]+): (#\w{6});", source)
    place = {"light": 0, "dark": 1}[theme]
    return dict(same) | {name: colors[place] for name, *colors in both}


def luminance(color):
    channels = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_pair_can_be_read(theme):
    colors = tokens(theme)
    too_weak = {
        f"{front} on {back}": round(contrast(colors[front], colors[back]), 2)
        for front, back, least in PAIRS
        if contrast(colors[front], colors[back]) < least
    }
    assert too_weak == {}
