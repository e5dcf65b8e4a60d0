"""The template language of messages: Liquid over an allowlist, unable to reach anything else or to hang.

Only plain strings go in. The tags that loop or assign and the filters that can grow a text without bound
are not there, so what a template may produce is limited by its own length. python-liquid stays behind
this module.
"""

from collections.abc import Mapping
from functools import lru_cache

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from liquid import Environment
from liquid.exceptions import LiquidError

from core.errors import DomainError

VARIABLES: dict[str, str | Promise] = {
    "first_name": gettext_lazy("First name"),
    "last_name": gettext_lazy("Last name"),
    "city": gettext_lazy("City"),
    "store": gettext_lazy("Home store"),
    "store_city": gettext_lazy("City of the home store"),
    "brand": gettext_lazy("Name of the brand"),
    "unsubscribe_url": gettext_lazy("Unsubscribe address"),
}
TRAITS = "traits"  # {{ traits.shoe_size }}: whatever the retailer knows of a person.
TAGS = frozenset({"content", "output", "illegal", "if", "unless", "case", "comment", "#"})
FILTERS = frozenset(
    {"capitalize", "default", "downcase", "escape", "lstrip", "rstrip", "strip", "truncate", "upcase"}
)
MAX_LENGTH = 20_000


class TemplateProblem(DomainError):
    """A text that cannot be sent, and why, for the person who wrote it."""


def _environment(*, autoescape: bool) -> Environment:
    environment = Environment(autoescape=autoescape)
    environment.tags = {name: tag for name, tag in environment.tags.items() if name in TAGS}
    environment.filters = {name: f for name, f in environment.filters.items() if name in FILTERS}
    return environment


_HTML = _environment(autoescape=True)
_TEXT = _environment(autoescape=False)


class Template:
    """A parsed text. Rendering the same template for many people parses it once."""

    def __init__(self, source: str, *, html: bool = False) -> None:
        if len(source) > MAX_LENGTH * (10 if html else 1):
            raise TemplateProblem(_("The text is longer than {limit} characters.").format(limit=MAX_LENGTH))
        try:
            self.parsed = (_HTML if html else _TEXT).from_string(source)
        except (LiquidError, RecursionError) as error:
            raise problem_of(error) from error

    def variables(self) -> set[str]:
        """The names it reads, dotted: {'first_name', 'traits.shoe_size'}."""
        found = self.parsed.analyze(include_partials=False).globals
        return {".".join(map(str, use.segments)) for uses in found.values() for use in uses}

    def filters(self) -> set[str]:
        """The filters it applies: {'default'}."""
        return set(self.parsed.analyze(include_partials=False).filters)

    def render(self, values: Mapping[str, object]) -> str:
        """The text for one person; raises TemplateProblem, never returns half a text."""
        try:
            return self.parsed.render(**values)
        except LiquidError as error:
            raise problem_of(error) from error


def check(source: str) -> None:
    """Refuse what does not parse or uses a name off the allowlist; raises TemplateProblem."""
    template = Template(source)
    for name in sorted(template.filters() - FILTERS):
        raise TemplateProblem(
            _("“{name}” is not a filter. You can use: {names}.").format(
                name=name, names=", ".join(sorted(FILTERS))
            )
        )
    for name in sorted(template.variables()):
        if name not in VARIABLES and not name.startswith(f"{TRAITS}."):
            raise TemplateProblem(
                _("“{name}” is not a variable. You can use: {names}.").format(
                    name=name, names=", ".join(VARIABLES)
                )
            )


@lru_cache(maxsize=500)
def compiled(source: str, *, html: bool = False) -> Template:
    """The parsed template, kept: a campaign's text is parsed once per process, not once per person."""
    return Template(source, html=html)


def problem_of(error: Exception) -> TemplateProblem:
    """What Liquid could not do, in a sentence for the person who wrote the text."""
    if isinstance(error, RecursionError):
        return TemplateProblem(_("The text nests conditions too deeply."))
    message = str(error).split("\n")[0].strip(" .")
    return TemplateProblem(_("The text cannot be read: {message}.").format(message=message))
