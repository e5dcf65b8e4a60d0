from typing import TYPE_CHECKING, ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from customers.models import Customer
from inventory.models import Store

if TYPE_CHECKING:
    from core.models import User


class OrderQuerySet(models.QuerySet["Order"]):
    def visible_to(self, user: "User") -> "OrderQuerySet":
        """Store staff see the orders of the customers they see; everybody else sees all."""
        if user.is_store_bound:
            return self.filter(customer__in=Customer.objects.visible_to(user))
        return self


class Order(models.Model):
    """Something a customer bought, online or in a store. Money is integer minor units."""

    class Channel(models.TextChoices):
        WEB = "web", _("Online")
        STORE = "store", _("Store")
        APP = "app", _("App")
        PHONE = "phone", _("Phone")

    class Status(models.TextChoices):
        COMPLETED = "completed", pgettext_lazy("order", "Completed")
        CANCELLED = "cancelled", pgettext_lazy("order", "Cancelled")

    source = models.CharField(max_length=60, help_text="The system that owns the number.")
    number = models.CharField(_("number"), max_length=100)
    customer = models.ForeignKey(Customer, models.PROTECT, related_name="orders", db_index=False)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.COMPLETED)
    placed_at = models.DateTimeField(_("placed"))
    total_minor = models.BigIntegerField(_("total"), help_text="In minor units: cents.")
    currency = models.CharField(max_length=3, default="EUR", help_text="ISO 4217.")
    quantity = models.PositiveIntegerField(_("pieces"), default=1)
    channel = models.CharField(_("channel"), max_length=20, choices=Channel.choices, default=Channel.WEB)
    store = models.ForeignKey(
        Store, models.SET_NULL, null=True, blank=True, related_name="orders", db_index=False
    )
    created_at = models.DateTimeField(default=now, db_default=Now())

    objects: ClassVar[OrderQuerySet] = OrderQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ("-placed_at", "-id")
        permissions = [("import_order", "Can import orders")]
        constraints = [
            models.UniqueConstraint(fields=["source", "number"], name="order_once"),
            models.CheckConstraint(condition=Q(total_minor__gte=0), name="order_total_not_negative"),
            models.CheckConstraint(condition=Q(currency__regex=r"^[A-Z]{3}$"), name="order_currency_iso"),
        ]
        indexes = [
            # One customer's orders, latest first; covers segment sums over a person's orders.
            models.Index(
                fields=["customer", "-placed_at"],
                include=["total_minor", "quantity", "status"],
                name="order_of_customer",
            ),
            # Ctrl K: somebody reads a number from a parcel; the unique index begins with the source.
            models.Index(fields=["number"], name="order_by_number"),
            # Segments and figures: orders since a date.
            models.Index(
                fields=["placed_at"], include=["customer", "total_minor", "status"], name="order_by_time"
            ),
        ]

    def __str__(self) -> str:
        return self.number
