"""A content as one person would read it, saved or not: for the editor and the campaign's page."""

from dataclasses import dataclass

from django.conf import settings
from django.conf.locale import LANG_INFO
from django.utils.http import int_to_base36

from core.models import User
from customers.models import Channel, Customer

from . import rendering, services
from .models import Content
from .sms import Size, measure
from .templates import TemplateProblem

# As long as the tokens of a house with millions of messages; the seal was made by nobody and opens nothing.
_SEAL = "sAmpLe0nLy7wXk3Q"
_SAMPLE_TOKEN = f"{int_to_base36(10_000_000)}-{_SEAL}"
_SAMPLE_CLICK = f"{_SAMPLE_TOKEN}{int_to_base36(10_000)}-tAg4"


@dataclass(frozen=True)
class Preview:
    """What one person would read, or why it cannot be written."""

    content: Content
    customer: Customer | None
    subject: str = ""
    preheader: str = ""
    html: str = ""
    text: str = ""
    size: Size | None = None
    problem: str = ""


def preview(content: Content, customer: Customer | None) -> Preview:
    """A content for one person, or for somebody of whom nothing is known. Never raises for a bad text."""
    try:
        if content.channel == Channel.EMAIL:
            return _preview_email(content, customer)
        text = _text_as_sent(content, customer)
    except TemplateProblem as problem:
        return Preview(content, customer, problem=str(problem))
    return Preview(content, customer, text=text, size=measure(text))


def _preview_email(content: Content, customer: Customer | None) -> Preview:
    email = services.preview(content, customer)
    assert isinstance(email, rendering.Email)
    values = rendering.person_values(customer or Customer(), content.campaign.brand)
    preheader = rendering.compiled(content.preheader).render(values)
    return Preview(
        content, customer, subject=email.subject, preheader=preheader, html=email.html, text=email.text
    )


def _text_as_sent(content: Content, customer: Customer | None) -> str:
    """The text with links as long as tracked ones will be, so that its parts are counted right."""
    links = {url: number for number, url in enumerate(sorted(rendering.links_in(content)), start=1)}
    values = rendering.person_values(customer or Customer(), content.campaign.brand)
    values["unsubscribe_url"] = rendering.public_url("campaigns:unsubscribe", _SAMPLE_TOKEN)
    for number in links.values():
        values[f"link_{number}"] = rendering.public_url("campaigns:click", _SAMPLE_CLICK)
    return rendering.fill_text(rendering.compile_parts(content, links), values)


def find_customers(user: User, words: str, *, limit: int = 8) -> list[Customer]:
    """A few people whose name or address contains the words."""
    found = Customer.objects.visible_to(user).current().matching(words)
    return list(found.select_related("home_store").prefetch_related("identifiers").order_by("pk")[:limit])


def languages() -> list[str]:
    """The languages a content may be written in, as ISO 639 codes: those Django knows by name."""
    return sorted({code for code in LANG_INFO if len(code) == 2} | {code for code, _ in settings.LANGUAGES})
