from django.apps import AppConfig


class CampaignsConfig(AppConfig):
    name = "campaigns"

    def ready(self) -> None:
        from . import provider_checks  # noqa: F401 - registers itself with `manage.py check`
