from typing import Any

from allauth.account.auth_backends import AuthenticationBackend
from django.contrib.auth.backends import BaseBackend

from .roles import PERMISSIONS, Role


class SignInBackend(AuthenticationBackend):
    """Says who somebody is, not what they may do: rows of permissions and groups count for nothing."""

    def get_user_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        return set()

    def get_group_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        return set()

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        return set()

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        return False

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        return False


class RoleBackend(BaseBackend):
    """Answers Django's permission questions from the role of an active user."""

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """The permissions of a role as `app.codename`; those of an administrator are not enumerated."""
        if not user_obj.is_active or user_obj.is_anonymous:
            return set()
        return set(PERMISSIONS.get(user_obj.role, ()))

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        if not user_obj.is_active or user_obj.is_anonymous:
            return False
        return user_obj.role == Role.ADMINISTRATOR or perm in PERMISSIONS.get(user_obj.role, ())

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        if not user_obj.is_active or user_obj.is_anonymous:
            return False
        return user_obj.role == Role.ADMINISTRATOR or any(
            perm.startswith(f"{app_label}.") for perm in PERMISSIONS.get(user_obj.role, ())
        )
