from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

import pghistory
from django.conf import settings
from django.db import models
from django.db.models import F, Func, JSONField, Q, Value
from django.db.models.functions import Greatest
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from customers.models import Channel, Customer

if TYPE_CHECKING:
    from core.models import User


class SegmentQuerySet(models.QuerySet["Segment"]):
    def visible_to(self, user: "User") -> "SegmentQuerySet":
        """Segments speak of the whole customer base: store-bound staff see none."""
        return self.none() if user.is_store_bound else self

    def active(self) -> "SegmentQuerySet":
        return self.filter(archived_at=None)

    def naming(self, segment_id: int) -> "SegmentQuerySet":
        """Segments whose rules name this one, however deep."""
        return self.filter(
            Func(
                F("definition"),
                Value('$.** ? (@.type == "segment" && @.segment == $id)'),
                Value({"id": segment_id}, JSONField()),
                template="jsonb_path_exists(%(expressions)s)",
                output_field=models.BooleanField(),
            )
        )

    def stale(self, since: datetime) -> "SegmentQuerySet":
        """Active segments not counted, and not tried in vain, since then; the longest waiting first."""
        tried = Greatest("counted_at", "count_failed_at")  # Ignores the one that is NULL.
        stale = self.active().alias(tried_at=tried).filter(Q(tried_at=None) | Q(tried_at__lt=since))
        return stale.order_by(F("tried_at").asc(nulls_first=True), "pk")


@pghistory.track(
    pghistory.InsertEvent(),
    pghistory.UpdateEvent(),
    fields=["name", "description", "kind", "definition", "archived_at"],
    model_name="SegmentHistory",
)
class Segment(models.Model):
    """A group of customers: by rules, or a fixed list."""

    class Kind(models.TextChoices):
        RULES = "rules", _("Rules")
        LIST = "list", _("Fixed list")

    name = models.CharField(_("name"), max_length=120, unique=True)
    description = models.CharField(_("description"), max_length=300, blank=True)
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.RULES)
    definition = models.JSONField(default=dict, help_text="The tree, as segments.tree reads it.")
    members = models.ManyToManyField(Customer, through="ListMember", related_name="lists")
    match_count = models.IntegerField(null=True, help_text="People who matched at counted_at.")
    reachable = models.JSONField(default=dict, help_text="Channel to number of people reachable by it.")
    counted_at = models.DateTimeField(null=True)
    count_ms = models.IntegerField(null=True, help_text="What the count cost, in milliseconds.")
    count_failed_at = models.DateTimeField(null=True, help_text="The last count that ran out of time.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=now)
    updated_at = models.DateTimeField(auto_now=True)
    archived_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[SegmentQuerySet] = SegmentQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("segment")
        verbose_name_plural = _("segments")
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("segments:detail", args=[self.pk])

    @property
    def reach(self) -> list["Reach"]:
        """The stored reachable counts, a channel a row."""
        return reach_of(self.reachable)

    @property
    def is_list(self) -> bool:
        return self.kind == self.Kind.LIST

    @property
    def has_timed_out(self) -> bool:
        """Whether the latest attempt to count it ran out of time."""
        failed = self.count_failed_at
        return failed is not None and (self.counted_at is None or failed > self.counted_at)


@dataclass(frozen=True)
class Reach:
    """How many people of a segment one channel may reach."""

    channel: str
    label: str
    people: int


def reach_of(reachable: dict[str, int]) -> list[Reach]:
    return [Reach(one.value, str(one.label), reachable.get(one.value, 0)) for one in Channel]


class ListMember(models.Model):
    """A person on a fixed list."""

    segment = models.ForeignKey(Segment, models.CASCADE, db_index=False)
    customer = models.ForeignKey(Customer, models.CASCADE)
    added_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    added_at = models.DateTimeField(default=now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["segment", "customer"], name="list_member_once"),
        ]

    def __str__(self) -> str:
        return f"customer {self.customer_id} on list {self.segment_id}"
