from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST
from django.views.i18n import set_language

from . import services
from .http import StaffRequest
from .navigation import navigation_for
from .policy import public, signed_in


@signed_in
def start(request: HttpRequest) -> HttpResponse:
    """The first page of a person's navigation: home for marketing, customers for the shop."""
    navigation = navigation_for(request)
    return HttpResponseRedirect(navigation[0]["items"][0]["url"])


@public
@require_POST
def switch_language(request: HttpRequest) -> HttpResponse:
    """Speak another language from now on, for whoever is signed in also in the next browser."""
    user, language = request.user, request.POST.get("language")
    if user.is_authenticated and language in dict(settings.LANGUAGES):
        user.language = language
        user.save(update_fields=["language"])
    return set_language(request)


@public
def closed(request: HttpRequest) -> HttpResponse:
    """A page of the sign-in library this house does not offer."""
    raise Http404


@public
def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form that was open too long, or a cookie the browser refused."""
    return render(request, "403_csrf.html", status=403)


@signed_in
@require_POST
def own_session_end(request: StaffRequest, session_pk: int) -> HttpResponse:
    """Sign yourself out of one browser; a session of somebody else is not there."""
    services.end_sessions(request.user.pk, session_pk=session_pk)
    messages.success(request, _("Signed out"))
    return redirect("usersessions_list")
