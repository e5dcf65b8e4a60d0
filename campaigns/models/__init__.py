"""The tables of the campaigns room, by what they are about."""

from .brands import Brand, Sender
from .campaigns import Campaign, CampaignQuerySet, Content
from .messages import Logbook, Message, MessageQuerySet
from .operations import Repair, Switch
from .providers import Breaker, Pace, ProviderReport, SandboxText
from .timing import CampaignDay, DayPressure, Habit, Occurrence, OccurrenceQuerySet
from .tracking import Click, Conversion, Link, Open, Outcome, Sign, Tally

__all__ = [
    "Brand",
    "Breaker",
    "Campaign",
    "CampaignDay",
    "CampaignQuerySet",
    "Click",
    "Content",
    "Conversion",
    "DayPressure",
    "Habit",
    "Link",
    "Logbook",
    "Message",
    "MessageQuerySet",
    "Occurrence",
    "OccurrenceQuerySet",
    "Open",
    "Outcome",
    "Pace",
    "ProviderReport",
    "Repair",
    "SandboxText",
    "Sender",
    "Sign",
    "Switch",
    "Tally",
]
