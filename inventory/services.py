"""Where people work."""

from collections.abc import Iterable

from django.db import transaction

from core.history import acting
from core.models import User

from .models import Store


@transaction.atomic
def assign_stores(user_id: int, *, stores: Iterable[Store], by: User) -> User:
    """Have somebody work in exactly these stores: what they see changes with the next click."""
    colleague = User.objects.select_for_update().get(pk=user_id)
    with acting(by):
        colleague.stores.set(stores)
    return colleague
