from django.apps import AppConfig
from django.db.models.signals import post_migrate


class CampaignsConfig(AppConfig):
    name = "campaigns"

    def ready(self) -> None:
        from . import provider_checks, switch  # noqa: F401 - the checks register themselves

        # Django's own way to have rows no installation goes without, emptied test databases included.
        post_migrate.connect(switch.settle_in, sender=self)
