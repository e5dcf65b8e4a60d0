"""Who speaks: brands and the identities they send from."""

from __future__ import annotations

import pghistory
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from customers.models import Channel


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
    weekly_points = models.PositiveSmallIntegerField(
        _("points a week"),
        null=True,
        blank=True,
        default=7,
        db_default=7,
        validators=[MinValueValidator(1)],
        help_text=_("What one person may get in seven days: an email is 1 point, a text message 2."),
    )
    daily_messages = models.PositiveSmallIntegerField(
        _("messages a day"),
        null=True,
        blank=True,
        default=2,
        db_default=2,
        validators=[MinValueValidator(1)],
        help_text=_("What one person may get on one day of their own clock, on all channels."),
    )

    class Meta:
        verbose_name = _("brand")
        verbose_name_plural = _("brands")
        ordering = ("name",)
        constraints = [
            models.CheckConstraint(condition=Q(colour__regex=r"^#[0-9a-fA-F]{6}$"), name="brand_colour_hex"),
            models.CheckConstraint(
                condition=Q(weekly_points=None) | Q(weekly_points__gte=1), name="brand_week_allows_some"
            ),
            models.CheckConstraint(
                condition=Q(daily_messages=None) | Q(daily_messages__gte=1), name="brand_day_allows_some"
            ),
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
