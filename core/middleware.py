from collections.abc import Callable
from typing import Any

import pghistory.middleware
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

GetResponse = Callable[[HttpRequest], HttpResponse]


class SecondFactorMiddleware:
    """Nobody works here without a second factor, where the settings demand one."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        if not settings.REQUIRE_SECOND_FACTOR or not request.user.is_authenticated:
            return None
        if not getattr(view, "login_required", True) or request.path.startswith("/account/"):
            return None
        if is_mfa_enabled(request.user):
            return None
        return HttpResponseRedirect(reverse("mfa_index"))


class HistoryMiddleware(pghistory.middleware.HistoryMiddleware):
    """Who did it and on which page, beside every change the history triggers record."""

    def get_context(self, request: HttpRequest) -> dict[str, Any]:
        return {"user": request.user.pk, "url": request.path}
