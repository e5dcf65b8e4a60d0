from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, ClassVar

import pghistory
from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from customers.models import Channel, Customer, Event
from segments.models import Segment

if TYPE_CHECKING:
    from core.models import User


@pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent(), model_name="BrandHistory")
class Brand(models.Model):
    """Who speaks: one name, one look, one legal address, whatever the channel."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    website = models.URLField(_("website"), blank=True)
    postal_address = models.TextField(
        _("postal address"), help_text=_("Stands at the foot of every email, as the law asks.")
    )
    logo = models.FileField(
        _("logo"), upload_to="brands/", blank=True, help_text=_("PNG or JPEG, up to 200 KB.")
    )
    colour = models.CharField(
        _("colour"),
        max_length=7,
        default="#1b1c21",
        validators=[RegexValidator(r"^#[0-9a-fA-F]{6}$", _("Write a colour like #1b1c21."))],
    )
    timezone = models.CharField(
        _("time zone"),
        max_length=50,
        default="Europe/Rome",
        help_text=_("For people whose own time zone is not known."),
    )
    default_language = models.CharField(_("default language"), max_length=10, default="en")
    quiet_from = models.TimeField(_("quiet from"), default="21:00")
    quiet_until = models.TimeField(_("quiet until"), default="08:00")
    approval_above = models.PositiveIntegerField(
        _("approval above"),
        default=10_000,
        help_text=_("A launch to more people than this needs a second person's approval."),
    )

    class Meta:
        verbose_name = _("brand")
        verbose_name_plural = _("brands")
        ordering = ("name",)
        constraints = [
            models.CheckConstraint(condition=Q(colour__regex=r"^#[0-9a-fA-F]{6}$"), name="brand_colour_hex"),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("campaigns:brand_edit", args=[self.pk])

    @property
    def text_on_colour(self) -> str:
        """Black or white, whichever reads better on the brand's colour (WCAG relative luminance)."""
        channels = [int(self.colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        return "#000000" if luminance > 0.179 else "#ffffff"


class Sender(models.Model):
    """An identity a brand sends from: an e-mail address or a text-message name."""

    brand = models.ForeignKey(Brand, models.CASCADE, related_name="senders")
    channel = models.CharField(_("channel"), max_length=20, choices=Channel.choices)
    name = models.CharField(_("name"), max_length=100, help_text=_("What the receiver reads as the sender."))
    address = models.CharField(
        _("address"),
        max_length=254,
        help_text=_("E-mail address, or number or name of up to 11 letters for SMS."),
    )
    reply_to = models.EmailField(_("replies go to"), blank=True)

    class Meta:
        ordering = ("channel", "name")
        constraints = [
            models.UniqueConstraint(fields=["brand", "channel", "address"], name="sender_once"),
        ]

    def __str__(self) -> str:
        return f"{self.name} <{self.address}>" if self.channel == Channel.EMAIL else self.address


class CampaignQuerySet(models.QuerySet["Campaign"]):
    def visible_to(self, user: User) -> CampaignQuerySet:
        """Campaigns speak to the whole customer base: store-bound staff see none."""
        return self.none() if user.is_store_bound else self

    def due(self) -> CampaignQuerySet:
        """Scheduled campaigns whose time has come, by the clock of the database."""
        return self.filter(status=Campaign.Status.SCHEDULED, send_at__lte=Now())

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
    send_at = models.DateTimeField(_("send at"), null=True, blank=True)
    expires_at = models.DateTimeField(
        _("expires at"),
        null=True,
        blank=True,
        help_text=_("Nothing is sent after this, even if something was late."),
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
        ]
        indexes = [
            # What the beat asks every few seconds.
            models.Index(fields=["send_at"], name="campaign_due", condition=Q(status="scheduled")),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("campaigns:detail", args=[self.pk])

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

    class Meta:
        ordering = ("channel", "language")
        constraints = [
            models.UniqueConstraint(fields=["campaign", "channel", "language"], name="content_once"),
        ]

    def __str__(self) -> str:
        return f"{self.channel}/{self.language}"


class MessageQuerySet(models.QuerySet["Message"]):
    def visible_to(self, user: User) -> MessageQuerySet:
        """Messages of the customers this person sees."""
        if user.is_store_bound:
            return self.filter(customer__in=Customer.objects.visible_to(user))
        return self


class Message(models.Model):
    """The outbox: one row per person, channel, step and occurrence, written before anything is sent.

    planned → leased → sending → sent → delivered | bounced | failed; a gate drops it to suppressed with a
    reason; unknown is a message whose fate the provider has not told us.
    """

    class Status(models.TextChoices):
        PLANNED = "planned", pgettext_lazy("message", "Waiting")
        LEASED = "leased", pgettext_lazy("message", "Waiting")
        SENDING = "sending", pgettext_lazy("message", "Sending")
        SENT = "sent", pgettext_lazy("message", "Sent")
        DELIVERED = "delivered", pgettext_lazy("message", "Delivered")
        BOUNCED = "bounced", pgettext_lazy("message", "Bounced")
        FAILED = "failed", pgettext_lazy("message", "Failed")
        SUPPRESSED = "suppressed", pgettext_lazy("message", "Held back")
        UNKNOWN = "unknown", pgettext_lazy("message", "Unknown")

    class Reason(models.TextChoices):
        """Why a message was held back, in the order of the gates; then why one failed or waits."""

        EXPIRED = "expired", _("The campaign had expired")
        NO_CONSENT = "no_consent", _("No consent for this channel")
        REVOKED = "revoked", _("Consent was withdrawn")
        SUPPRESSED = "suppressed", _("The address is blocked")
        NO_ADDRESS = "no_address", _("No address for this channel")
        CANCELLED = "cancelled", _("The campaign was cancelled")
        QUIET_HOURS = "quiet_hours", _("Waits for the end of quiet hours")
        REFUSED = "refused", _("The receiver's server refused it")
        BAD_ADDRESS = "bad_address", _("The address does not exist")
        PROVIDER_ERROR = "provider_error", _("The provider answered with an error")
        RENDERING = "rendering", _("The text could not be written for this person")
        NO_ANSWER = "no_answer", _("The provider's answer never arrived")

    campaign = models.ForeignKey(Campaign, models.PROTECT, related_name="messages", db_index=False)
    customer = models.ForeignKey(Customer, models.PROTECT, related_name="messages", db_index=False)
    channel = models.CharField(max_length=20, choices=Channel.choices)
    step = models.PositiveSmallIntegerField(default=0, db_default=0)
    occurrence = models.PositiveIntegerField(default=0, db_default=0)
    content = models.ForeignKey(Content, models.PROTECT, null=True, related_name="+", db_index=False)
    address = models.CharField(max_length=254, blank=True)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PLANNED)
    reason = models.CharField(max_length=20, choices=Reason.choices, blank=True, db_default="")
    detail = models.CharField(
        max_length=300, blank=True, db_default="", help_text="The provider's own words."
    )
    due_at = models.DateTimeField()
    owner = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0, db_default=0)
    provider_ref = models.CharField(max_length=100, blank=True, db_default="")
    planned_at = models.DateTimeField(default=now, db_default=Now())
    sending_at = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    settled_at = models.DateTimeField(null=True, help_text="When its last state was reached.")

    objects: ClassVar[MessageQuerySet] = MessageQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["campaign", "customer", "channel", "step", "occurrence"], name="message_once"
            ),
            # Two people behind one address get one message.
            models.UniqueConstraint(
                fields=["campaign", "channel", "address", "step", "occurrence"],
                condition=~Q(status="suppressed"),
                name="message_once_per_address",
            ),
            models.CheckConstraint(
                condition=~Q(status="suppressed") | ~Q(reason=""), name="message_suppressed_has_reason"
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["leased", "sending"])
                | Q(owner__isnull=False, lease_until__isnull=False),
                name="message_lease_complete",
            ),
        ]
        indexes = [
            # What a dispatcher claims.
            models.Index(fields=["due_at", "id"], name="message_due", condition=Q(status="planned")),
            # Whether a campaign still has something to send.
            models.Index(
                fields=["campaign"],
                name="message_open",
                condition=Q(status__in=["planned", "leased", "sending"]),
            ),
            # Leases that ran out.
            models.Index(
                fields=["lease_until"], name="message_leases", condition=Q(status__in=["leased", "sending"])
            ),
            # The customer's page.
            models.Index(fields=["customer", "-planned_at"], name="message_of_customer"),
            # Provider reports.
            models.Index(fields=["provider_ref"], name="message_by_ref", condition=~Q(provider_ref="")),
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.pk}: {self.status}"


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


class SandboxText(models.Model):
    """A text message the sandbox provider took, and the report it will give about it."""

    ref = models.UUIDField(default=uuid.uuid4, unique=True)
    sender = models.CharField(max_length=20)
    to = models.CharField(max_length=20)
    body = models.TextField()
    parts = models.PositiveSmallIntegerField()
    message = models.BigIntegerField(unique=True, help_text="Our message id: the provider's idempotency key.")
    accepted_at = models.DateTimeField(default=now)
    report = models.CharField(max_length=10, help_text="delivered or bounced")
    report_at = models.DateTimeField()
    reported_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["report_at"], name="sandbox_reports", condition=Q(reported_at=None))]

    def __str__(self) -> str:
        return str(self.ref)
