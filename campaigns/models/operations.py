"""What those who run the house may set and do by hand, each with who did it and why."""

from __future__ import annotations

import pghistory
import pgtrigger
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


@pghistory.track(
    pghistory.InsertEvent(),
    pghistory.UpdateEvent(),
    exclude=["place", "changed_at"],
    model_name="SwitchHistory",
)
class Switch(models.Model):
    """Whether messages may leave: the whole house's row is `sends`, a channel's `sends:email`.

    The house's row counts only in the database it was written for: a copy of it stays silent until somebody
    says there that it may send (`campaigns.switch`).
    """

    name = models.CharField(max_length=30, primary_key=True)
    is_on = models.BooleanField(_("on"), default=True, db_default=True)
    place = models.CharField(
        max_length=80, blank=True, db_default="", help_text="The database it was turned on in."
    )
    reason = models.CharField(_("reason"), max_length=300, blank=True, db_default="")
    by = models.CharField(_("set by"), max_length=150, blank=True, db_default="")
    changed_at = models.DateTimeField(default=now, db_default=Now())

    class Meta:
        verbose_name = _("switch")
        verbose_name_plural = _("switches")

    def __str__(self) -> str:
        return self.name


@pghistory.track(pghistory.InsertEvent(), model_name="RepairHistory")
class Repair(models.Model):
    """What was done by hand to many messages at once, or to a provider. Lines are added, never changed."""

    class Kind(models.TextChoices):
        PARK = "park", pgettext_lazy("repair", "Set aside")
        REPLAY = "replay", pgettext_lazy("repair", "Sent again")
        RESET = "reset", pgettext_lazy("repair", "Breaker closed")

    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    selection = models.JSONField(
        _("selection"), default=dict, help_text="What was asked for, as on the command line."
    )
    messages = models.PositiveIntegerField(_("messages"), default=0, help_text="How many it was done to.")
    reason = models.CharField(_("reason"), max_length=300, blank=True, db_default="")
    by = models.CharField(_("done by"), max_length=150)
    at = models.DateTimeField(default=now, db_default=Now())

    class Meta:
        verbose_name = _("repair")
        verbose_name_plural = _("repairs")
        constraints = [
            models.CheckConstraint(
                condition=Q(kind__in=["park", "replay", "reset"]), name="repair_kind_known"
            )
        ]
        triggers = [
            pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.messages}"
