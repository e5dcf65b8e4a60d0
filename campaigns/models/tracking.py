"""What became of messages: mails opened, links followed, orders after them, and against no message at all."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from customers.models import Event

from .campaigns import Campaign
from .messages import Message


class Sign(models.TextChoices):
    """What speaks for a machine behind an opening or a click; campaigns.machines weighs them."""

    NO_AGENT = "no_agent", _("It did not say what program it was")
    UNKNOWN_AGENT = "unknown_agent", _("A program nobody knows")
    ROBOT = "robot", _("A program known as a robot or scanner")
    HEAD = "head", _("It asked for the address only, not for the page")
    PREFETCH = "prefetch", _("Loaded ahead of time, in case somebody looks")
    APPLE_PRIVACY = "apple_privacy", _("Apple Mail loads every picture, read or not")
    TOO_SOON = "too_soon", _("Within moments of sending")
    EVERY_LINK = "every_link", _("Followed every link within moments")
    REPORTED = "reported", _("The mail provider says it was a machine")
    # Weighs nothing: a person looked, but we are told through a proxy that may come back later by itself.
    PROXY = "proxy", pgettext_lazy("opening", "Through the reader's mail provider")


class Judged(models.Model):
    """An act that was a person's or a machine's: `score` of 100; from 50 on a machine's."""

    is_machine = models.BooleanField(default=False, help_text="A scanner or prefetcher, not a person.")
    score = models.PositiveSmallIntegerField(default=0, db_default=0)
    signs = ArrayField(
        models.CharField(max_length=20, choices=Sign.choices), default=list, db_default=[], blank=True
    )

    class Meta:
        abstract = True


class Link(models.Model):
    """An address a campaign links to; only stored addresses are ever redirected to."""

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="links")
    url = models.URLField(max_length=500)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["campaign", "url"], name="link_once")]

    def __str__(self) -> str:
        return self.url


class Click(Judged):
    """A person followed a link of a message."""

    message = models.ForeignKey(Message, models.CASCADE, related_name="clicks")
    link = models.ForeignKey(Link, models.CASCADE, related_name="clicks")
    clicked_at = models.DateTimeField(default=now)
    settled_at = models.DateTimeField(
        null=True,
        db_default=Now(),
        help_text="When it counted as final and the event log was told; later clicks may still change it.",
    )

    class Meta:
        indexes = [
            # What waits to be told.
            models.Index(fields=["clicked_at"], name="click_unsettled", condition=Q(settled_at=None)),
        ]

    def __str__(self) -> str:
        return f"message {self.message_id}, link {self.link_id}"


class Open(Judged):
    """A mail was opened: one row for its people and one for its machines, however often.

    Written only while the person agrees to open tracking. `score` and `signs` are those of the first time.
    """

    message = models.ForeignKey(Message, models.CASCADE, related_name="opens", db_index=False)
    opened_at = models.DateTimeField(help_text="The first time.")
    last_opened_at = models.DateTimeField()
    times = models.PositiveIntegerField(default=1, db_default=1)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["message", "is_machine"], name="open_once"),
            models.CheckConstraint(
                condition=Q(last_opened_at__gte=F("opened_at")), name="open_first_before_last"
            ),
        ]

    def __str__(self) -> str:
        return f"message {self.message_id} at {self.opened_at}"


class Conversion(models.Model):
    """An order within the goal window after a campaign's message; the last message before it gets it."""

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="conversions")
    message = models.ForeignKey(Message, models.CASCADE, related_name="conversions")
    event = models.OneToOneField(Event, models.CASCADE, related_name="conversion")
    revenue_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    occurred_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"event {self.event_id} after message {self.message_id}"


class Tally(models.Model):
    """A campaign's figures as a worker last counted them: what pages show, without counting.

    `figures` are what became of its messages, `forecast` is what planning would write.
    """

    campaign = models.OneToOneField(Campaign, models.CASCADE, primary_key=True, related_name="tally")
    counted_at = models.DateTimeField(null=True, help_text="Empty until the first count.")
    cost_ms = models.PositiveIntegerField(default=0, help_text="What the count cost, in milliseconds.")
    figures = models.JSONField(default=dict, help_text="As campaigns.results.Results writes them.")
    foreseen_at = models.DateTimeField(null=True, help_text="Empty while there is no forecast.")
    foresight_ms = models.PositiveIntegerField(
        default=0, db_default=0, help_text="What the forecast cost, in milliseconds."
    )
    forecast = models.JSONField(null=True, help_text="As campaigns.results.Foreseen writes it.")

    def __str__(self) -> str:
        return f"campaign {self.campaign_id} at {self.counted_at}"


class Outcome(models.Model):
    """What a campaign changed, against those held out of it, as a worker last compared them."""

    campaign = models.OneToOneField(Campaign, models.CASCADE, primary_key=True, related_name="outcome")
    counted_at = models.DateTimeField()
    cost_ms = models.PositiveIntegerField(help_text="What the comparison cost, in milliseconds.")
    figures = models.JSONField(help_text="As campaigns.outcome.Comparison writes them.")

    def __str__(self) -> str:
        return f"outcome of campaign {self.campaign_id} at {self.counted_at}"
