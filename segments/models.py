from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

import pghistory
from django.conf import settings
from django.db import models
from django.db.models import Exists, F, Func, JSONField, OuterRef, Q, Value
from django.db.models.functions import Now
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

    def with_overrides(self) -> "SegmentQuerySet":
        """Each says in `has_added` and `has_taken_out` whether anybody was put in or taken out by hand."""
        by_hand = Override.objects.filter(segment=OuterRef("pk"))
        return self.annotate(
            has_added=Exists(by_hand.filter(kind=Override.Kind.INCLUDE)),
            has_taken_out=Exists(by_hand.filter(kind=Override.Kind.EXCLUDE)),
        )

    def due(self, moment: datetime) -> "SegmentQuerySet":
        """Active segments whose full count is due; the longest waiting first, the new ones before."""
        due = self.active().filter(Q(due_at=None) | Q(due_at__lte=moment))
        return due.order_by(F("due_at").asc(nulls_first=True), "pk")


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
    match_count = models.IntegerField(null=True, help_text="How many people are kept as its members.")
    reachable = models.JSONField(default=dict, help_text="Channel to number of people reachable by it.")
    counted_at = models.DateTimeField(null=True, help_text="As of when the last full count was.")
    count_ms = models.IntegerField(null=True, help_text="What the count cost, in milliseconds.")
    count_failed_at = models.DateTimeField(null=True, help_text="The last count that ran out of time.")
    due_at = models.DateTimeField(null=True, help_text="When the next full count is due; NULL is now.")
    last_entered = models.IntegerField(null=True, help_text="Who came in by the last full count.")
    last_left = models.IntegerField(null=True, help_text="Who went out by the last full count.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=now)
    updated_at = models.DateTimeField(auto_now=True)
    archived_at = models.DateTimeField(null=True, blank=True)

    has_added: bool  # Of `with_overrides`.
    has_taken_out: bool

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
    def is_due(self) -> bool:
        """Whether its next full count should have begun."""
        return self.due_at is None or self.due_at <= now()

    @property
    def has_timed_out(self) -> bool:
        """Whether the latest attempt to count it ran out of time."""
        failed = self.count_failed_at
        return failed is not None and (self.counted_at is None or failed > self.counted_at)

    def is_kept(self, moment: datetime) -> bool:
        """Whether the members kept are as good as asking the rules at this moment.

        They are from the last full count until the next is due, as long as the follower keeps up with
        what happens in between (`segments.follower`).
        """
        counted, due = self.counted_at, self.due_at
        return counted is not None and due is not None and counted <= moment < due


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


class Override(models.Model):
    """A person somebody put into a segment by rules, or took out of it: it stands whatever the rules say."""

    class Kind(models.TextChoices):
        INCLUDE = "include", _("Added by hand")
        EXCLUDE = "exclude", _("Taken out by hand")

    segment = models.ForeignKey(Segment, models.CASCADE, related_name="overrides", db_index=False)
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="+")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    at = models.DateTimeField(default=now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["segment", "customer"], name="override_once"),
            models.CheckConstraint(condition=Q(kind__in=["include", "exclude"]), name="override_kind"),
        ]

    def __str__(self) -> str:
        return f"customer {self.customer_id} in segment {self.segment_id}: {self.kind}"


class Membership(models.Model):
    """A spell of a person in a segment: since when and, once over, until when. Who comes back has another.

    Kept by `segments.membership`. A million rows are written at once and nothing refers to them, so the
    foreign keys are no constraints: `check_invariants` asks instead.
    """

    segment = models.ForeignKey(
        Segment, models.CASCADE, related_name="spells", db_index=False, db_constraint=False
    )
    customer = models.ForeignKey(
        Customer, models.CASCADE, related_name="spells", db_index=False, db_constraint=False
    )
    entered_at = models.DateTimeField()
    left_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            # One spell at a time. Also who is in it, newest customer first, and the anti-joins of a refresh.
            models.UniqueConstraint(
                fields=["segment", "customer"], condition=Q(left_at=None), name="membership_current_once"
            ),
            models.CheckConstraint(
                condition=Q(left_at=None) | Q(left_at__gte=F("entered_at")), name="membership_in_order"
            ),
        ]

    def __str__(self) -> str:
        return f"customer {self.customer_id} in segment {self.segment_id} since {self.entered_at}"


class SegmentDay(models.Model):
    """What one day (in the house's time zone) did to a segment, and how many were in it at last."""

    segment = models.ForeignKey(Segment, models.CASCADE, related_name="days", db_index=False)
    day = models.DateField()
    entered = models.IntegerField(default=0)
    left = models.IntegerField(default=0)
    members = models.IntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["segment", "day"], name="segment_day_once")]

    def __str__(self) -> str:
        return f"segment {self.segment_id} on {self.day}: +{self.entered} -{self.left}"


class Touch(models.Model):
    """A person about whom something changed that is no event; written by triggers, taken by the follower."""

    customer_id = models.BigIntegerField()
    at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"customer {self.customer_id}"
