"""What a worker keeps of a launched campaign: its texts made ready once, then written person by person."""

from functools import lru_cache
from typing import Any

from django.conf import settings
from django.template.loader import get_template
from markupsafe import Markup

from customers.models import Channel

from . import tokens
from .lowering import SOFT_BREAK, Lowered, Slot, quoted
from .mime import Letter, MailWriter
from .models import Content, Link
from .rendering import (
    PIXEL,
    PIXEL_AFTER,
    PIXEL_BEFORE,
    Compiled,
    Email,
    Outgoing,
    compile_parts,
    fill_email,
    public_url,
)
from .templates import compiled


class Launch:
    """The content of a launched campaign, ready to be written for each person.

    The methods raise TemplateProblem when a text cannot be written, `mail` also BadAddress.
    """

    def __init__(self, content: Content, links: dict[str, int]) -> None:
        self.parts: Compiled = compile_parts(content, links)
        self.sender_address = self.parts.sender_address
        self._brand = content.campaign.brand.name
        self._secret = settings.SECRET_KEY
        self._links = {f"link_{pk}": tokens.link_part(pk) for pk in links.values()}
        self._click_base = _base("campaigns:click")
        self._unsubscribe_base = _base("campaigns:unsubscribe")
        self._pixel = PIXEL_BEFORE + public_url("campaigns:open", "-").removesuffix("-.gif"), PIXEL_AFTER
        self._quoted_pixel = quoted(self._pixel[0]), SOFT_BREAK + quoted(self._pixel[1])
        if content.channel == Channel.EMAIL:
            slots = self._slots(SOFT_BREAK)
            self._texts = [
                Lowered(compiled(self.parts.subject), str.encode),
                Lowered(compiled(self.parts.text), quoted, slots),
                Lowered(compiled(self.parts.html, html=True), quoted, slots),
            ]
            parts = self.parts
            self._writer = MailWriter(
                Letter(parts.sender_name, parts.sender_address, parts.reply_to, *self._texts)
            )
        else:
            self._texts = [Lowered(compiled(self.parts.text), str.encode, self._slots(b""))]

    @property
    def is_lowered(self) -> bool:
        """Whether every text is written the fast way; else Liquid renders some of it for each person."""
        return all(text.is_complete for text in self._texts)

    def mail(self, outgoing: Outgoing, *, date: str = "") -> bytes:
        """The whole mail, ready for the wire; `date` is its Date header, now when empty."""
        seals = tokens.Seals(outgoing.id, self._secret)
        values = self.values(outgoing, seals)
        return self._writer.write(
            message_id=f"{outgoing.id}.{outgoing.campaign_id}",
            to=outgoing.address,
            unsubscribe_url=values["unsubscribe_url"],
            values=values,
            slots=self._sealed(seals, outgoing),
            date=date,
        )

    def text(self, outgoing: Outgoing) -> str:
        """The text message."""
        seals = tokens.Seals(outgoing.id, self._secret)
        slots = self._sealed(seals, outgoing)
        return self._texts[0].write(self.values(outgoing, seals), slots).decode().strip()

    def email(self, outgoing: Outgoing) -> Email:
        """The mail in its parts, for providers that lay it out themselves."""
        seals = tokens.Seals(outgoing.id, self._secret)
        return fill_email(self.parts, self.values(outgoing, seals) | self._sealed_values(seals, outgoing))

    def headers(self, outgoing: Outgoing) -> dict[str, str]:
        """The headers every mail of ours carries, for providers that lay it out themselves."""
        domain = self.sender_address.rpartition("@")[2]
        way_out = self._unsubscribe_base + tokens.Seals(outgoing.id, self._secret).token(tokens.UNSUBSCRIBE)
        return {
            # The same message always has the same id, so a receiver can tell a repeat.
            "Message-ID": f"<{outgoing.id}.{outgoing.campaign_id}@{domain}>",
            # One-click unsubscribe, RFC 8058.
            "List-Unsubscribe": f"<{way_out}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }

    def values(self, outgoing: Outgoing, seals: tokens.Seals) -> dict[str, Any]:
        """Everything the texts may read."""
        values = {
            **outgoing.person,
            "brand": self._brand,
            "unsubscribe_url": self._unsubscribe_base + seals.token(tokens.UNSUBSCRIBE),
        }
        return values if self.is_lowered else values | self._sealed_values(seals, outgoing)

    def _sealed_values(self, seals: tokens.Seals, outgoing: Outgoing) -> dict[str, str]:
        """Links and the pixel as Liquid writes them, where nothing is ready-made."""
        message = self._click_base + seals.token(tokens.CLICK)
        pixel = seals.token(tokens.OPEN).join(self._pixel) if outgoing.tracks_opens else ""
        return {name: message + part for name, part in self._links.items()} | {PIXEL: Markup(pixel)}  # noqa: S704

    def _sealed(self, seals: tokens.Seals, outgoing: Outgoing) -> dict[str, bytes]:
        """The ready-made bytes of one message: its tokens, and the pixel of who agreed to it."""
        slots = {purpose: seals.token(purpose).encode() for purpose in (tokens.CLICK, tokens.UNSUBSCRIBE)}
        token = seals.token(tokens.OPEN).encode()
        return slots | {tokens.OPEN: token.join(self._quoted_pixel) if outgoing.tracks_opens else b""}

    def _slots(self, end: bytes) -> dict[str, Slot]:
        """How links come into a text: the address as text, the token ready-made."""
        slots = {
            name: Slot(tokens.CLICK, before=self._click_base, ending=part.encode() + end)
            for name, part in self._links.items()
        }
        slots["unsubscribe_url"] = Slot(tokens.UNSUBSCRIBE, before=self._unsubscribe_base, ending=end)
        slots[PIXEL] = Slot(tokens.OPEN)
        return slots


@lru_cache(maxsize=200)
def launch_of(content_id: int, revision: int) -> Launch:
    """The launch of a content; kept per process, an edit being a new revision."""
    content = Content.objects.select_related("campaign__brand", "sender").get(pk=content_id)
    links = dict(Link.objects.filter(campaign=content.campaign_id).values_list("url", "pk"))
    return Launch(content, links)


def warm_up() -> None:
    """Load what the first mail of a process would wait for: where addresses lead, how mails are laid out."""
    _base("campaigns:click")
    for kind in ("mjml", "txt"):
        get_template(f"campaigns/email/message.{kind}")


def _base(name: str) -> str:
    """The address of a public page up to its token."""
    return public_url(name, "-").removesuffix("-")
