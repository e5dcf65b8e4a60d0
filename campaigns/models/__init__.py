"""The tables of the campaigns room, by what they are about."""

from .brands import Brand, Sender
from .campaigns import Campaign, CampaignQuerySet, Content
from .messages import Message, MessageQuerySet
from .providers import Breaker, Pace, SandboxText
from .tracking import Click, Conversion, Link

__all__ = [
    "Brand",
    "Breaker",
    "Campaign",
    "CampaignQuerySet",
    "Click",
    "Content",
    "Conversion",
    "Link",
    "Message",
    "MessageQuerySet",
    "Pace",
    "SandboxText",
    "Sender",
]
