from collections.abc import Iterable
from itertools import count
from typing import Any

from core.models import User
from core.roles import Role

_numbers = count(1)


def make_user(
    *,
    role: str = Role.MARKETING_MANAGER,
    email: str = "",
    name: str = "Somebody",
    stores: Iterable[Any] = (),
    password: str | None = None,
    language: str = "en",
) -> User:
    """A colleague who can sign in when a password is given."""
    user = User.objects.create_user(
        email or f"user{next(_numbers)}@example.com", password, name=name, role=role, language=language
    )
    for store in stores:
        store.staff.add(user)
    return user
