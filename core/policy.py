"""The first line of every view: who may call it. A test walks the URLconf and finds views without one."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase

View = Callable[..., HttpResponseBase]

PUBLIC = "public"
SIGNED_IN = "signed in"


def requires(permission: str) -> Callable[[View], View]:
    """Let in whoever has `app.codename`; everybody else who is signed in gets 403."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not request.user.has_perm(permission):
                raise PermissionDenied(permission)
            return view(request, *args, **kwargs)

        guarded.policy = permission  # type: ignore[attr-defined]
        return guarded

    return decorate


def signed_in(view: View) -> View:
    """Let in everybody who works here; LoginRequiredMiddleware does the checking."""
    view.policy = SIGNED_IN  # type: ignore[attr-defined]
    return view


def public(view: View) -> View:
    """Let in the world: customers following a link, load balancers."""
    view = login_not_required(view)
    view.policy = PUBLIC  # type: ignore[attr-defined]
    return view
