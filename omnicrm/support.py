"""Django's admin: support access for administrators, who enter it as they enter everything else."""

from collections.abc import Iterable
from typing import Any

from allauth.account.decorators import secure_admin_login
from django.contrib.admin import AdminSite
from django.db.models import Model
from django.http import HttpRequest, HttpResponse

HIDDEN = {
    "auth.group",  # A role is a field of the user.
    "account.emailaddress",  # People are known by the address an administrator wrote.
    "mfa.authenticator",  # Its secrets are nobody's to read.
}


class SupportSite(AdminSite):
    site_title = site_header = "OmniCRM"

    def register(
        self, model_or_iterable: type[Model] | Iterable[type[Model]], *args: Any, **options: Any
    ) -> None:
        models = [model_or_iterable] if isinstance(model_or_iterable, type) else model_or_iterable
        shown = [model for model in models if model._meta.label_lower not in HIDDEN]
        super().register(shown, *args, **options)

    def login(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Through the sign-in page with its limits and second factor; 403 for whoever is no administrator."""
        return secure_admin_login(super().login)(request, *args, **kwargs)
