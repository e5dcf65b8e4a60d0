"""When campaigns go out: each occurrence once, people's habits by the hour, what each day carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from customers.models import Channel, Customer

from .campaigns import Campaign

if TYPE_CHECKING:
    from core.models import User


class OccurrenceQuerySet(models.QuerySet["Occurrence"]):
    def visible_to(self, user: User) -> OccurrenceQuerySet:
        """Occurrences of the campaigns this person sees."""
        return self.filter(campaign__in=Campaign.objects.visible_to(user))


class Occurrence(models.Model):
    """One time a campaign goes out: by the local day and hour it stands for, so that it is never two.

    A scheduled campaign has exactly one pending row, its next; launching turns it into messages whose
    `occurrence` is its number, or records why it was left out.
    """

    class State(models.TextChoices):
        PENDING = "pending", pgettext_lazy("occurrence", "To come")
        LAUNCHED = "launched", pgettext_lazy("occurrence", "Launched")
        SKIPPED = "skipped", pgettext_lazy("occurrence", "Left out")

    class Reason(models.TextChoices):
        """Why an occurrence was left out."""

        REPLACED = "replaced", _("It was late, and a later one had come due as well")
        EXPIRED = "expired", _("It would have been too late")

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="occurrences", db_index=False)
    number = models.PositiveIntegerField(help_text="From 0; what its messages carry as occurrence.")
    local_date = models.DateField(help_text="The day on the clock of the campaign.")
    local_time = models.TimeField(help_text="The time on the clock of the campaign.")
    launch_at = models.DateTimeField(help_text="When it becomes messages: before the first zone reaches it.")
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    reason = models.CharField(max_length=10, choices=Reason.choices, blank=True, db_default="")
    launched_at = models.DateTimeField(null=True)
    messages = models.PositiveIntegerField(
        default=0, db_default=0, help_text="Planned to be sent; expected while pending."
    )

    objects: ClassVar[OccurrenceQuerySet] = OccurrenceQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ("number",)
        constraints = [
            # Two beats, two dispatchers, a clock turned back: still one launch per local day and hour.
            models.UniqueConstraint(fields=["campaign", "local_date", "local_time"], name="occurrence_once"),
            models.UniqueConstraint(fields=["campaign", "number"], name="occurrence_number_once"),
            models.UniqueConstraint(
                fields=["campaign"], condition=Q(state="pending"), name="occurrence_one_pending"
            ),
            models.CheckConstraint(
                condition=Q(state="launched", launched_at__isnull=False)
                | Q(state__in=["pending", "skipped"], launched_at=None),
                name="occurrence_launched_has_time",
            ),
            models.CheckConstraint(
                condition=Q(state="skipped") & ~Q(reason="")
                | Q(state__in=["pending", "launched"], reason=""),
                name="occurrence_skipped_has_reason",
            ),
        ]
        indexes = [
            # What the beat asks every few seconds.
            models.Index(fields=["launch_at"], name="occurrence_due", condition=Q(state="pending")),
            # The calendar: what was or will be launched around these days.
            models.Index(fields=["local_date"], name="occurrence_by_day"),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id} on {self.local_date} at {self.local_time}"


class Habit(models.Model):
    """How much one person does at one hour of their day: human opens and clicks, and purchases.

    Weights are kept as if all were seen at campaigns.habits.LANDMARK (forward decay), so old ones fade
    without being rewritten.
    """

    pk = models.CompositePrimaryKey("customer_id", "hour")
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="habits", db_index=False)
    hour = models.PositiveSmallIntegerField(help_text="0 to 23, on the person's own clock.")
    weight = models.FloatField()

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(hour__lte=23), name="habit_hour_of_day")]

    def __str__(self) -> str:
        return f"customer {self.customer_id} at {self.hour}"


class CampaignDay(models.Model):
    """What one occurrence of a campaign means to send, and has sent, on one channel and one day.

    Kept so that the calendar never counts messages: `planned` is written with the messages, `sent` follows
    the event log. Days are those of the house's clock.
    """

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="days", db_index=False)
    occurrence = models.PositiveIntegerField()
    channel = models.CharField(max_length=20, choices=Channel.choices)
    day = models.DateField()
    planned = models.PositiveIntegerField(default=0, db_default=0)
    sent = models.PositiveIntegerField(default=0, db_default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["campaign", "occurrence", "channel", "day"], name="campaign_day_once"
            ),
        ]
        indexes = [models.Index(fields=["day"], name="campaign_day_by_day")]  # The calendar.

    def __str__(self) -> str:
        return f"{self.campaign_id} on {self.day}, {self.channel}"


class DayPressure(models.Model):
    """How much one day asks of the people we reach; measured in the background, read by the calendar."""

    day = models.DateField(primary_key=True)
    messages = models.PositiveIntegerField(help_text="Sent, waiting and expected on this day.")
    people = models.PositiveIntegerField(help_text="Who get at least one of them.")
    reachable = models.PositiveIntegerField(help_text="Whom any channel may reach at all.")
    over_cap = models.PositiveIntegerField(
        help_text="Whose first message beyond the weekly cap falls on this day; weeks begin on Monday."
    )
    measured_at = models.DateTimeField(default=now, db_default=Now())

    def __str__(self) -> str:
        return str(self.day)
