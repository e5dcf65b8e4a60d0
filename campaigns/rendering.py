"""From a content and a person to the words that leave: compiled once per content, filled once per person."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import formataddr
from functools import lru_cache
from html import unescape
from secrets import token_hex
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _
from markdown_it import MarkdownIt
from mjml import mjml2html

from customers.models import Channel, Customer

from . import tokens
from .models import Brand, Content, Link, Message
from .templates import TRAITS, TemplateProblem, compiled

_LIQUID = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.S)
_UNSUBSCRIBE = re.compile(r"\{\{-?\s*unsubscribe_url\s*-?\}\}")
_HREF = re.compile(r'href="([^"]+)"')
_LIQUID_IN_URL = r"\{\{[^{}]*\}\}|\{%[^{}]*%\}"
# An address up to the punctuation after it. One that varies by person is matched whole and not tracked.
_URL = re.compile(rf"https?://(?:{_LIQUID_IN_URL}|[^\s<>\"'{{}}])*(?:{_LIQUID_IN_URL}|[^\s<>\"'{{}}.,;:!?)])")
# What XML 1.0 has no place for.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_MARKDOWN = MarkdownIt("commonmark", {"html": False, "breaks": True, "linkify": True}).enable("linkify")


@dataclass(frozen=True)
class Outgoing:
    """One message about to leave: whose, where to, and the values its texts may read."""

    id: int
    channel: str
    address: str
    content_id: int
    campaign_id: int
    revision: int
    sender_address: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Email:
    subject: str
    html: str
    text: str
    sender: str
    reply_to: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Compiled:
    """The texts of a content as Liquid sources, links replaced by `{{ link_<id> }}` where tracked."""

    subject: str
    html: str
    text: str
    sender: str
    sender_domain: str
    reply_to: str


def load_outgoing(message_ids: list[int]) -> list[Outgoing]:
    """Everything these messages need to be written, in two queries."""
    rows = (
        Message.objects.filter(pk__in=message_ids)
        .select_related("customer__home_store", "campaign__brand", "content__sender")
        .order_by("pk")
    )
    links: dict[int, list[int]] = {}
    campaign_ids = {row.campaign_id for row in rows}
    for campaign_id, link_id in Link.objects.filter(campaign__in=campaign_ids).values_list("campaign", "pk"):
        links.setdefault(campaign_id, []).append(link_id)
    return [_outgoing(row, links.get(row.campaign_id, [])) for row in rows]


def _outgoing(message: Message, link_ids: Iterable[int]) -> Outgoing:
    assert message.content is not None
    values = person_values(message.customer, message.campaign.brand)
    values["unsubscribe_url"] = public_url(
        "campaigns:unsubscribe", tokens.sign(tokens.UNSUBSCRIBE, message.pk)
    )
    for link_id in link_ids:
        token = tokens.sign(tokens.CLICK, message.pk, link_id)
        values[f"link_{link_id}"] = public_url("campaigns:click", token)
    return Outgoing(
        id=message.pk,
        channel=message.channel,
        address=message.address,
        content_id=message.content_id or 0,
        campaign_id=message.campaign_id,
        revision=message.campaign.revision,
        sender_address=message.content.sender.address,
        values=values,
    )


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


def render_email(outgoing: Outgoing) -> Email:
    """The mail of one person; raises TemplateProblem."""
    parts = compile_content(outgoing.content_id, outgoing.revision)
    headers = {
        # The same message always has the same id, so a receiver can tell a repeat.
        "Message-ID": f"<{outgoing.id}.{outgoing.campaign_id}@{parts.sender_domain}>",
        # One-click unsubscribe, RFC 8058.
        "List-Unsubscribe": f"<{outgoing.values['unsubscribe_url']}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    return fill_email(parts, outgoing.values, headers=headers)


def render_text(outgoing: Outgoing) -> str:
    """The text message of one person; raises TemplateProblem."""
    return fill_text(compile_content(outgoing.content_id, outgoing.revision), outgoing.values)


def fill_email(parts: Compiled, values: Mapping[str, Any], headers: dict[str, str] | None = None) -> Email:
    """Put one person's values into a compiled email; raises TemplateProblem."""
    return Email(
        subject=_one_line(compiled(parts.subject).render(values)),
        html=compiled(parts.html, html=True).render(values),
        text=compiled(parts.text).render(values),
        sender=parts.sender,
        reply_to=parts.reply_to,
        headers=headers or {},
    )


def fill_text(parts: Compiled, values: Mapping[str, Any]) -> str:
    """Put one person's values into a compiled text message; raises TemplateProblem."""
    return compiled(parts.text).render(values).strip()


@lru_cache(maxsize=200)
def compile_content(content_id: int, revision: int) -> Compiled:
    """The content of a launched campaign, links tracked; kept per process, an edit being a new revision."""
    content = Content.objects.select_related("campaign__brand", "sender").get(pk=content_id)
    links = dict(Link.objects.filter(campaign=content.campaign_id).values_list("url", "pk"))
    return compile_parts(content, links)


def compile_parts(content: Content, links: Mapping[str, int]) -> Compiled:
    """Lower a content to Liquid sources. Addresses found in `links` (url to Link id) become tracked ones."""
    sender = content.sender
    if content.channel == Channel.EMAIL:
        html, text = _email_html(content, links), _email_text(content, links)
        name = formataddr((sender.name, sender.address))
    else:
        html, text, name = "", _track_text(content.body, links), sender.address
    return Compiled(
        subject=content.subject,
        html=html,
        text=text,
        sender=name,
        sender_domain=sender.address.rpartition("@")[2],
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

    return masked.restore(_HREF.sub(tracked, html))


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
