from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pghistory.middleware
from allauth.account.adapter import get_adapter
from allauth.mfa.utils import is_mfa_enabled
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django_htmx.http import HttpResponseClientRedirect
from django_structlog.middlewares import RequestMiddleware

EVERY = timedelta(minutes=1)
USER_AGENT_LENGTH = UserSession._meta.get_field("user_agent").max_length
GetResponse = Callable[[HttpRequest], HttpResponse]


class SignInMiddleware(LoginRequiredMiddleware):
    """Nobody enters without signing in, except where a view is public."""

    def handle_no_permission(  # type: ignore[override]
        self, request: HttpRequest, view_func: Any
    ) -> HttpResponse:
        """Send a page to the sign-in form and back; tell a fragment 401, so the page around it goes there."""
        if request.htmx:  # type: ignore[attr-defined]
            return HttpResponse(status=401)
        if request.method in ("GET", "HEAD"):
            return redirect_to_login(request.get_full_path(), self.get_login_url(view_func))
        return redirect(self.get_login_url(view_func))  # A POST cannot be come back to.


class LastSeenMiddleware:
    """When and from where each browser was last used, for whoever looks for one that is not theirs.

    The library's own middleware writes with every request; once a minute is enough to recognise a stranger.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.session.session_key and request.user.is_authenticated:
            now = timezone.now()
            UserSession.objects.filter(
                session_key=request.session.session_key, last_seen_at__lt=now - EVERY
            ).update(
                last_seen_at=now,
                ip=get_adapter().get_client_ip(request),
                user_agent=request.headers.get("user-agent", "")[:USER_AGENT_LENGTH],
            )
        return self.get_response(request)


class SecondFactorMiddleware:
    """Nobody works here without a second factor, where the settings demand one."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        """Lead whoever has none to the page where it is set up; what is public stays open."""
        if not settings.REQUIRE_SECOND_FACTOR or not request.user.is_authenticated:
            return None
        if not getattr(view, "login_required", True) or request.path.startswith("/account/"):
            return None
        if is_mfa_enabled(request.user):
            return None
        answer = HttpResponseClientRedirect if request.htmx else HttpResponseRedirect  # type: ignore[attr-defined]
        return answer(reverse("mfa_index"))


class HistoryMiddleware(pghistory.middleware.HistoryMiddleware):
    """Who did it and on which page, beside every change the history triggers record."""

    def get_context(self, request: HttpRequest) -> dict[str, Any]:
        return {"user": request.user.pk, "url": request.path}


class RequestLogMiddleware(RequestMiddleware):
    """One line per request with its id, the user's id, the route and the answer's code."""

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        """The method, the route and its numbers, such as `GET customers/<int:pk>/ pk=7`.

        Never the address itself: it may carry somebody's name, a search or the key of a link.
        """
        match = request.resolver_match
        if match is None:
            return f"{request.method} unknown address"
        numbers = [f" {name}={value}" for name, value in match.kwargs.items() if isinstance(value, int)]
        return f"{request.method} {match.route}{''.join(numbers)}"
