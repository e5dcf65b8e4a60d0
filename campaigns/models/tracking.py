"""What became of messages: links followed, orders after them."""

from __future__ import annotations

from django.db import models
from django.utils.timezone import now

from customers.models import Event

from .campaigns import Campaign
from .messages import Message


class Link(models.Model):
    """An address a campaign links to; only stored addresses are ever redirected to."""

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="links")
    url = models.URLField(max_length=500)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["campaign", "url"], name="link_once")]

    def __str__(self) -> str:
        return self.url


class Click(models.Model):
    """A person followed a link of a message."""

    message = models.ForeignKey(Message, models.CASCADE, related_name="clicks")
    link = models.ForeignKey(Link, models.CASCADE, related_name="clicks")
    clicked_at = models.DateTimeField(default=now)
    is_machine = models.BooleanField(default=False, help_text="A scanner or prefetcher, not a person.")

    def __str__(self) -> str:
        return f"message {self.message_id}, link {self.link_id}"


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
