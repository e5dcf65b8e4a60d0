"""What is said, to whom, when and for which goal."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

import pghistory
from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy
from django_celery_beat.models import CrontabSchedule

from customers.models import Channel
from segments.models import Segment

from .brands import Brand, Sender

if TYPE_CHECKING:
    from core.models import User


class CampaignQuerySet(models.QuerySet["Campaign"]):
    def visible_to(self, user: User) -> CampaignQuerySet:
        """Campaigns speak to the whole customer base: store-bound staff see none."""
        return self.none() if user.is_store_bound else self

    def due(self, at: datetime) -> CampaignQuerySet:
        """Campaigns with an occurrence that has to become messages by then. Uses occurrence_due."""
        return self.filter(
            status__in=[Campaign.Status.SCHEDULED, Campaign.Status.SENDING],
            occurrences__state="pending",
            occurrences__launch_at__lte=at,
        )

    def active(self) -> CampaignQuerySet:
        return self.filter(status__in=[Campaign.Status.SENDING, Campaign.Status.PAUSED])


@pghistory.track(
    pghistory.InsertEvent(),
    pghistory.UpdateEvent(),
    exclude=["updated_at", "planned_at", "finished_at"],
    model_name="CampaignHistory",
)
class Campaign(models.Model):
    """One message to chosen people, on chosen channels, at a time, for a goal."""

    class Status(models.TextChoices):
        DRAFT = "draft", pgettext_lazy("campaign", "Draft")
        APPROVAL = "approval", pgettext_lazy("campaign", "Waiting for approval")
        SCHEDULED = "scheduled", pgettext_lazy("campaign", "Scheduled")
        SENDING = "sending", pgettext_lazy("campaign", "Sending")
        PAUSED = "paused", pgettext_lazy("campaign", "Paused")
        SENT = "sent", pgettext_lazy("campaign", "Sent")
        CANCELLED = "cancelled", pgettext_lazy("campaign", "Cancelled")

    class Goal(models.TextChoices):
        ORDERS = "orders", _("Orders")
        REVENUE = "revenue", _("Revenue")
        CLICKS = "clicks", _("Clicks")

    class Clock(models.TextChoices):
        """Whose clock the chosen day and hour are read from."""

        MOMENT = "moment", _("One moment for everybody")
        LOCAL = "local", _("Each person's own clock")
        STORE = "store", _("The clock of each person's store")
        BEST = "best", _("Each person's best hour")

    name = models.CharField(_("name"), max_length=120)
    brand = models.ForeignKey(Brand, models.PROTECT, related_name="campaigns", verbose_name=_("brand"))
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.DRAFT)
    goal = models.CharField(_("goal"), max_length=10, choices=Goal.choices, default=Goal.ORDERS)
    goal_target = models.PositiveIntegerField(
        _("target"), default=0, help_text=_("How many; revenue in whole units of currency.")
    )
    goal_days = models.PositiveSmallIntegerField(
        _("goal window"),
        default=7,
        validators=[MinValueValidator(1), MaxValueValidator(90)],
        help_text=_("Orders within this many days after the message count."),
    )
    include = models.ManyToManyField(Segment, related_name="campaigns_including", verbose_name=_("send to"))
    exclude = models.ManyToManyField(
        Segment, related_name="campaigns_excluding", blank=True, verbose_name=_("but not to")
    )
    clock = models.CharField(
        _("clock"), max_length=10, choices=Clock.choices, default=Clock.MOMENT, db_default=Clock.MOMENT
    )
    send_at = models.DateTimeField(
        _("send at"),
        null=True,
        blank=True,
        help_text="When it starts; on other clocks than one moment, as the brand's clock reads them.",
    )
    wall_date = models.DateField(
        _("day"),
        null=True,
        blank=True,
        help_text="The day as those clocks show it, never an instant, so new rules of summer time move it; "
        "the first possible day of a series.",
    )
    wall_time = models.TimeField(
        _("time of day"), null=True, blank=True, help_text="As those clocks show it."
    )
    crontab = models.ForeignKey(
        CrontabSchedule,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="When a series repeats. All five fields must match, as Celery reads them.",
    )
    repeat_until = models.DateField(
        _("repeat until"), null=True, blank=True, help_text=_("The last day it may be sent on.")
    )
    expires_at = models.DateTimeField(
        _("expires at"),
        null=True,
        blank=True,
        help_text=_("Nothing is sent after this, even if something was late."),
    )
    expire_hours = models.PositiveSmallIntegerField(
        _("at most this late"),
        default=6,
        db_default=6,
        validators=[MinValueValidator(1), MaxValueValidator(720)],
        help_text=_("Hours after a person's own time; what is later than this is not sent at all."),
    )
    throttle_per_hour = models.PositiveIntegerField(
        _("at most per hour"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Messages an hour. Leave empty to send as fast as possible."),
    )
    holdout_percent = models.PositiveSmallIntegerField(
        _("holdout"),
        default=5,
        db_default=5,
        validators=[MaxValueValidator(50)],
        help_text=_("Of 100 people, how many get nothing, so that we see what the messages changed."),
    )
    respect_quiet_hours = models.BooleanField(_("respect quiet hours"), default=True)
    revision = models.PositiveIntegerField(
        default=1, help_text="Grows with every edit; an approval is for one revision."
    )
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    approved_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    approved_revision = models.PositiveIntegerField(null=True)
    created_at = models.DateTimeField(default=now)
    updated_at = models.DateTimeField(auto_now=True)
    planned_at = models.DateTimeField(null=True, help_text="When the audience became messages.")
    finished_at = models.DateTimeField(null=True)

    objects: ClassVar[CampaignQuerySet] = CampaignQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("campaign")
        verbose_name_plural = _("campaigns")
        ordering = ("-created_at",)
        permissions = [
            ("send_campaign", "Can schedule, pause and cancel campaigns"),
            ("approve_campaign", "Can approve what somebody else wants to send"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(approved_by=None) | ~Q(approved_by=F("requested_by")), name="campaign_four_eyes"
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["scheduled", "sending", "sent"]) | Q(send_at__isnull=False),
                name="campaign_scheduled_has_time",
            ),
            models.CheckConstraint(
                condition=Q(expires_at=None) | Q(send_at=None) | Q(expires_at__gt=F("send_at")),
                name="campaign_expires_after_start",
            ),
            models.CheckConstraint(
                condition=Q(clock__in=["moment", "local", "store", "best"]), name="campaign_clock_known"
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["scheduled", "sending", "sent"])
                | Q(clock="moment")
                | Q(crontab__isnull=False)
                | Q(wall_date__isnull=False) & (Q(clock="best") | Q(wall_time__isnull=False)),
                name="campaign_clock_has_hour",
            ),
            models.CheckConstraint(condition=Q(expire_hours__gte=1), name="campaign_expires_some_time"),
            models.CheckConstraint(
                condition=Q(throttle_per_hour=None) | Q(throttle_per_hour__gte=1),
                name="campaign_throttle_moves",
            ),
            models.CheckConstraint(condition=Q(holdout_percent__lte=50), name="campaign_holdout_to_half"),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("campaigns:detail", args=[self.pk])

    @property
    def is_series(self) -> bool:
        return self.crontab_id is not None

    @property
    def starts_at_once(self) -> bool:
        """Chosen to go out for everybody as soon as it is let go."""
        is_timed = self.is_series or self.clock != self.Clock.MOMENT
        return not is_timed and (self.send_at is None or self.send_at <= now())

    @property
    def is_editable(self) -> bool:
        """Drafts, and what waits for approval or its hour; an edit takes the latter back to draft."""
        return self.status in (self.Status.DRAFT, self.Status.APPROVAL, self.Status.SCHEDULED)


class Content(models.Model):
    """What one channel says in one language. Texts are Liquid over the allowlist of campaigns.variables."""

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="contents")
    channel = models.CharField(max_length=20, choices=Channel.choices)
    language = models.CharField(max_length=10)
    sender = models.ForeignKey(Sender, models.PROTECT, related_name="+", verbose_name=_("sender"))
    subject = models.CharField(_("subject"), max_length=200, blank=True)
    preheader = models.CharField(_("preview text"), max_length=200, blank=True)
    heading = models.CharField(_("heading"), max_length=200, blank=True)
    body = models.TextField(_("text"))
    button_label = models.CharField(_("button"), max_length=60, blank=True)
    button_url = models.URLField(_("button address"), max_length=500, blank=True)
    tracked_links = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="How many different links of it are followed, once launched."
    )

    class Meta:
        ordering = ("channel", "language")
        constraints = [
            models.UniqueConstraint(fields=["campaign", "channel", "language"], name="content_once"),
        ]

    def __str__(self) -> str:
        return f"{self.channel}/{self.language}"
