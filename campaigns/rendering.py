"""From a content to the texts that leave: laid out, links tracked, ready for a person's values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formataddr
from html import unescape
from secrets import token_hex
from typing import Any, NamedTuple

from django.conf import settings
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _
from markdown_it import MarkdownIt
from mjml import mjml2html

from customers.models import Channel, Customer

from .models import Brand, Content
from .templates import TRAITS, TemplateProblem, compiled

# Where a mail carries the picture that tells it was opened, for those who agreed; no text may ask for it.
PIXEL = "open_pixel"
PIXEL_BEFORE, PIXEL_AFTER = '<img src="', '.gif" width="1" height="1" alt="" style="display:block;border:0">'

_LIQUID = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.S)
_UNSUBSCRIBE = re.compile(r"\{\{-?\s*unsubscribe_url\s*-?\}\}")
_HREF = re.compile(r'href="([^"]+)"')
_LIQUID_IN_URL = r"\{\{[^{}]*\}\}|\{%[^{}]*%\}"
# An address up to the punctuation after it. One that varies by person is matched whole and not tracked.
_URL = re.compile(rf"https?://(?:{_LIQUID_IN_URL}|[^\s<>\"'{{}}])*(?:{_LIQUID_IN_URL}|[^\s<>\"'{{}}.,;:!?)])")
# What XML 1.0 has no place for.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_MARKDOWN = MarkdownIt("commonmark", {"html": False, "breaks": True, "linkify": True}).enable("linkify")


class Outgoing(NamedTuple):
    """One message about to leave: whose, where to, and what its texts may read of the person."""

    id: int
    channel: str
    address: str
    content_id: int
    campaign_id: int
    revision: int
    person: Mapping[str, Any]
    tracks_opens: bool = False  # The person agreed to it, as of the fence.


@dataclass(frozen=True)
class Email:
    subject: str
    html: str
    text: str
    sender: str
    reply_to: str


@dataclass(frozen=True)
class Compiled:
    """The texts of a content as Liquid sources, links replaced by `{{ link_<id> }}` where tracked."""

    subject: str
    html: str
    text: str
    sender_name: str
    sender_address: str
    reply_to: str

    @property
    def sender(self) -> str:
        """Who it is from, as a header says it."""
        return formataddr((self.sender_name, self.sender_address))


def person_values(customer: Customer, brand: Brand) -> dict[str, Any]:
    """What the texts may read of a person: plain strings under the names of the allowlist."""
    store = customer.home_store
    return {
        "first_name": customer.first_name,
        "last_name": customer.last_name,
        "city": customer.city,
        "store": store.name if store else "",
        "store_city": store.city if store else "",
        "brand": brand.name,
        TRAITS: {str(key): str(value) for key, value in customer.traits.items()},
    }


def public_url(name: str, *args: str | int) -> str:
    """An address customers can follow."""
    return settings.PUBLIC_URL.rstrip("/") + reverse(name, args=args)


def logo_url(brand: Brand) -> str:
    """Where mail programs find the brand's logo; empty without one."""
    return public_url("campaigns:brand_logo", brand.pk) if brand.logo else ""


def fill_email(parts: Compiled, values: Mapping[str, Any]) -> Email:
    """Put one person's values into a compiled email as Liquid does; raises TemplateProblem."""
    return Email(
        subject=_one_line(compiled(parts.subject).render(values)),
        html=compiled(parts.html, html=True).render(values),
        text=compiled(parts.text).render(values),
        sender=parts.sender,
        reply_to=parts.reply_to,
    )


def fill_text(parts: Compiled, values: Mapping[str, Any]) -> str:
    """Put one person's values into a compiled text message as Liquid does; raises TemplateProblem."""
    return compiled(parts.text).render(values).strip()


def compile_parts(content: Content, links: Mapping[str, int]) -> Compiled:
    """Lower a content to Liquid sources. Addresses found in `links` (url to Link id) become tracked ones."""
    sender = content.sender
    if content.channel == Channel.EMAIL:
        html, text = _email_html(content, links), _email_text(content, links)
    else:
        html, text = "", _track_text(content.body, links)
    return Compiled(
        subject=content.subject,
        html=html,
        text=text,
        sender_name=sender.name,
        sender_address=sender.address,
        reply_to=sender.reply_to,
    )


def links_in(content: Content) -> set[str]:
    """The addresses a content leads everybody to; those with a variable inside differ and are not tracked."""
    if content.channel == Channel.EMAIL:
        found = {unescape(url) for url in _HREF.findall(_email_html(content, {}))}
    else:
        found = set(_URL.findall(content.body))
    return {url for url in found if url.startswith(("https://", "http://")) and "{" not in url}


def _email_html(content: Content, links: Mapping[str, int]) -> str:
    masked = _Mask()
    with translation.override(content.language):
        source = render_to_string(
            "campaigns/email/message.mjml",
            {
                "content": content,
                "brand": content.campaign.brand,
                "logo_url": logo_url(content.campaign.brand),
                "subject": masked(content.subject),
                "preheader": masked(content.preheader),
                "heading": masked(content.heading),
                "body": _MARKDOWN.render(masked(content.body)),
                "button_label": masked(content.button_label),
                "unsubscribe_url": masked("{{ unsubscribe_url }}"),
            },
        )
    try:
        html = mjml2html(_UNPRINTABLE.sub("", source), fonts={})
    except ValueError as error:  # Nothing we know of leads here; a preview must still be an answer.
        raise TemplateProblem(_("The mail cannot be laid out: {reason}.").format(reason=error)) from error

    def tracked(match: re.Match[str]) -> str:
        masked.check_address(match[1])
        link = links.get(unescape(match[1]))
        return f'href="{{{{ link_{link} }}}}"' if link else match[0]

    body, end, rest = masked.restore(_HREF.sub(tracked, html)).rpartition("</body>")
    return f"{body}{{{{ {PIXEL} }}}}{end}{rest}"


def _email_text(content: Content, links: Mapping[str, int]) -> str:
    masked = _Mask()
    with translation.override(content.language):
        text = render_to_string(
            "campaigns/email/message.txt",
            {
                "content": content,
                "brand": content.campaign.brand,
                "heading": masked(content.heading),
                "body": _plain(masked(content.body)),
                "button_label": masked(content.button_label),
                "unsubscribe_url": masked("{{ unsubscribe_url }}"),
            },
        )
    return _track_text(masked.restore(unescape(text)), links)


def _track_text(text: str, links: Mapping[str, int]) -> str:
    def tracked(match: re.Match[str]) -> str:
        link = links.get(match[0])
        return f"{{{{ link_{link} }}}}" if link else match[0]

    return _URL.sub(tracked, text)


def _plain(markdown: str) -> str:
    """What a marketer wrote, without its markup: `[our shop](https://…)` reads `our shop (https://…)`."""
    text = re.sub(r"\[([^\]]+)\]\(([^)\s]+)\)", r"\1 ( \2 )", markdown)
    return re.sub(r"(\*\*|__)(.+?)\1", r"\2", text)


def _one_line(text: str) -> str:
    """A header field: no line may be smuggled in through a value."""
    return " ".join(text.split())


class _Mask:
    """Carries Liquid through Markdown, MJML and addresses untouched: each piece travels as one odd word."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        nonce = token_hex(4)  # Nobody can write the word by hand.
        self._word = f"lq{nonce}n%dq"
        self._words = re.compile(rf"lq{nonce}n(\d+)q")

    def __call__(self, source: str) -> str:
        return _LIQUID.sub(self._hide, source)

    def restore(self, text: str) -> str:
        return self._words.sub(lambda match: self._pieces[int(match[1])], text)

    def check_address(self, address: str) -> None:
        """Refuse an address that is whatever a variable says; raises TemplateProblem."""
        begins = self._words.match(address)
        if begins and not _UNSUBSCRIBE.fullmatch(self._pieces[int(begins[1])]):
            raise TemplateProblem(_("A link's address must begin with https://, not with a variable."))

    def _hide(self, match: re.Match[str]) -> str:
        self._pieces.append(match[0])
        return self._word % (len(self._pieces) - 1)
