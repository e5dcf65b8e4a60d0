"""The Italian catalogue: complete, or a failed check. `--update` brings new texts into it.

Texts are collected without GNU gettext: Django turns its templates into what Babel's extractors read.
"""

import os
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import django
from babel.messages import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
CATALOGUE = ROOT / "locale" / "it" / "LC_MESSAGES" / "django.po"
APPS = ["omnicrm", "core", "inventory", "customers", "orders", "segments", "campaigns", "analytics"]
# Name of the call to the positions of its texts; "c" marks the context.
KEYWORDS = {
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "_": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
    "npgettext_lazy": ((1, "c"), 2, 3),
}
HEADER = "# Italian. English is the source; `make messages` adds what is new.\n"


def sources() -> Iterator[tuple[str, BytesIO]]:
    """Every file with texts: how to read it, and its content as Python."""
    from django.utils.translation.template import templatize

    for app in APPS:
        for path in sorted((ROOT / app).rglob("*.py")):
            if not {"tests", "migrations"} & set(path.parts):
                yield "python", BytesIO(path.read_bytes())
    for path in sorted((ROOT / "templates").rglob("*")):
        if path.suffix in {".html", ".txt", ".mjml"}:
            lines = templatize(path.read_text()).splitlines()
            yield "python", BytesIO("\n".join(line.strip() for line in lines).encode())


def collect(files: Iterator[tuple[str, BytesIO]]) -> Catalog:
    """The texts found in the sources."""
    catalogue = Catalog(locale="it", charset="utf-8")
    for method, file in files:
        for _line, texts, _comments, context in extract(method, file, KEYWORDS):
            catalogue.add(texts, context=context)
    return catalogue


def load(path: Path) -> Catalog:
    if not path.exists():
        return Catalog(locale="it", charset="utf-8")
    with path.open("rb") as file:
        return read_po(file, locale="it")


def update(path: Path, found: Catalog) -> None:
    """Add new texts untranslated, drop those no longer used, keep every translation."""
    known = load(path)
    for message in found:
        if message.id and (old := known.get(message.id, message.context)):
            message.string = old.string
    found.header_comment = HEADER.strip()
    found.fuzzy = False
    with path.open("wb") as file:
        write_po(file, found, width=100, sort_output=True, omit_header=False)


def problems(path: Path, found: Catalog) -> Iterator[str]:
    known = load(path)
    for message in found:
        if not message.id:
            continue
        name = message.id if isinstance(message.id, str) else message.id[0]
        translated = known.get(message.id, message.context)
        texts = [] if translated is None else translated.string
        texts = [texts] if isinstance(texts, str) else list(texts)
        if not texts or not all(texts):
            yield f"{path.name}: not translated: {name!r}"
        elif translated is not None:
            yield from (f"{path.name}: {error} in {name!r}" for error in translated.check(known))


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "omnicrm.settings")
    django.setup()
    found = collect(sources())
    if "--update" in sys.argv:
        update(CATALOGUE, found)
    missing = list(problems(CATALOGUE, found))
    print("\n".join(missing) or "The Italian catalogue is complete.")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
