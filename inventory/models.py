from typing import TYPE_CHECKING, ClassVar

import pghistory
from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from core.models import User


class StoreQuerySet(models.QuerySet["Store"]):
    def visible_to(self, user: "User") -> "StoreQuerySet":
        """Store staff see the stores they work in; everybody else sees all."""
        return self.filter(staff=user) if user.is_store_bound else self


@pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent(), model_name="StoreHistory")
class Store(models.Model):
    """A shop the retailer runs."""

    code = models.SlugField(_("code"), max_length=30, unique=True)
    name = models.CharField(_("name"), max_length=100, unique=True)
    city = models.CharField(_("city"), max_length=100, blank=True)
    country = models.CharField(_("country"), max_length=2, blank=True, help_text="ISO 3166-1 alpha-2.")
    timezone = models.CharField(_("time zone"), max_length=50, default="Europe/Rome")
    staff = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="stores", blank=True)

    objects: ClassVar[StoreQuerySet] = StoreQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("store")
        verbose_name_plural = _("stores")
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


@pghistory.track(pghistory.InsertEvent(), pghistory.DeleteEvent(), model_name="WorkplaceHistory")
class Workplace(Store.staff.through):  # type: ignore[name-defined]
    """That a colleague works in a store and so sees its customers; here for its history."""

    class Meta:
        proxy = True
        verbose_name = _("workplace")
        verbose_name_plural = _("workplaces")
