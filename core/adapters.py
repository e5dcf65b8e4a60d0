from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest, HttpResponse

from .language import remember_language


class AccountAdapter(DefaultAccountAdapter):
    """Nobody signs up: an administrator invites."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_user_display_name(self, user: Any) -> str:
        return user.name or user.email

    def post_login(self, request: HttpRequest, user: Any, **details: Any) -> HttpResponse:
        """Go on in the language this person works in, whatever the browser spoke before."""
        response: HttpResponse = super().post_login(request, user, **details)
        remember_language(response, user.language)
        return response
