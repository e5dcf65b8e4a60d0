from typing import Any

from django.apps import AppConfig
from django.db import connection
from django.db.models.signals import post_migrate


class CustomersConfig(AppConfig):
    name = "customers"

    def ready(self) -> None:
        post_migrate.connect(carry_on_the_event_log, sender=self)


def carry_on_the_event_log(**_: Any) -> None:
    """A restored database is migrated before anything else writes to it."""
    from core.cursor import carry_on

    from .models import Event

    if Event._meta.db_table in connection.introspection.table_names():
        carry_on(Event)
