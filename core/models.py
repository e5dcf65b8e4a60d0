from typing import Any, ClassVar

import pghistory
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .fields import TransactionIdField
from .roles import STORE_ROLES, Role


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, role=Role.ADMINISTRATOR, **fields)

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email__iexact=username)


@pghistory.track(
    pghistory.InsertEvent(),
    pghistory.UpdateEvent(),
    exclude=["password", "last_login", "date_joined"],
    model_name="UserHistory",
)
class User(AbstractBaseUser, PermissionsMixin):
    """Somebody who works here: signs in by e-mail, has one role, perhaps some stores."""

    email = models.EmailField(_("e-mail"), unique=True)
    name = models.CharField(_("name"), max_length=150)
    role = models.CharField(_("role"), max_length=20, choices=Role.choices, default=Role.MARKETER)
    language = models.CharField(
        _("language"), max_length=2, default="en", choices=[("en", "English"), ("it", "Italiano")]
    )
    is_active = models.BooleanField(_("active"), default=True)
    date_joined = models.DateTimeField(default=timezone.now)

    objects: ClassVar[UserManager] = UserManager()
    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["name"]

    class Meta:
        verbose_name = _("colleague")
        verbose_name_plural = _("colleagues")
        permissions = [("view_history", "Can see who changed what")]
        constraints = [
            models.UniqueConstraint(Lower("email"), name="user_email_once"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="user_role_known"),
            models.CheckConstraint(condition=Q(is_superuser=False), name="user_rights_by_role_only"),
        ]

    def __str__(self) -> str:
        return self.name or self.email

    @property
    def is_staff(self) -> bool:
        """Who enters Django's admin."""
        return self.role == Role.ADMINISTRATOR

    @property
    def is_administrator(self) -> bool:
        """Whether this person may do everything, here and now."""
        return self.is_active and self.role == Role.ADMINISTRATOR

    @property
    def is_store_bound(self) -> bool:
        """Whether this person sees only what belongs to their stores."""
        return self.role in STORE_ROLES

    def get_absolute_url(self) -> str:
        return reverse("core:colleague", args=[self.pk])

    def get_full_name(self) -> str:
        return self.name

    def get_short_name(self) -> str:
        return self.name.split(" ")[0]


@pghistory.track(
    pghistory.InsertEvent(),
    pghistory.DeleteEvent(),
    fields=["user", "type"],
    model_name="SecondFactorHistory",
)
class SecondFactor(Authenticator):
    """What proves who somebody is beside the password; the sign-in library's rows, here for their history."""

    class Meta:
        proxy = True
        verbose_name = _("second factor")
        verbose_name_plural = _("second factors")


class Cursor(models.Model):
    """How far a consumer has read the event log; moves in the transaction of the batch's effects."""

    name = models.CharField(max_length=60, primary_key=True)
    tx = TransactionIdField(default=0)
    event_id = models.BigIntegerField(default=0)
    moved_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.name} at ({self.tx}, {self.event_id})"
