"""Team: the people who work here, what they may do and how they prove who they are."""

import json
from collections.abc import Callable
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.db.models import Prefetch
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from . import services
from .errors import DomainError
from .forms import ColleagueForm, NewColleagueForm
from .http import StaffRequest
from .invitations import mail_sign_in_link
from .models import User
from .policy import requires

SHOWN = {"active": True, "deactivated": False}
LINKS = "sign_in_links"  # In the session until shown: colleague to address.


@requires("core.change_user")
@require_GET
def team(request: StaffRequest) -> HttpResponse:
    """Everybody who works here, or who did."""
    show = request.GET.get("show", "active")
    show = show if show in SHOWN else "active"
    people = User.objects.filter(is_active=SHOWN[show]).order_by("name", "pk")
    factors = Prefetch("authenticator_set", Authenticator.objects.only("user_id", "type"), to_attr="factors")
    colleagues = people.prefetch_related("stores", factors)
    return render(request, "core/team.html", {"colleagues": colleagues, "show": show})


@requires("core.change_user")
def colleague_add(request: StaffRequest) -> HttpResponse:
    """Somebody new: mailed a link to choose a password, which is also shown once."""
    form = NewColleagueForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            colleague = services.add_colleague(**form.cleaned_data, by=request.user)
        except DomainError as error:
            form.add_error("email", str(error))
        else:
            _hand_out_link(request, colleague)
            return redirect(colleague)
    status = 422 if form.errors else 200
    return render(request, "core/colleague_add.html", {"form": form}, status=status)


@requires("core.change_user")
def colleague(request: StaffRequest, pk: int) -> HttpResponse:
    """One colleague: who they are, where they work, how and where they are signed in."""
    person = get_object_or_404(User, pk=pk)
    if request.method != "POST":
        return render(request, "core/colleague.html", _context(request, person))
    form = ColleagueForm(request.POST, instance=get_object_or_404(User, pk=pk))
    if form.is_valid():
        try:
            services.change_colleague(pk, **form.cleaned_data, by=request.user)
        except DomainError as error:
            form.add_error(None, str(error))
        else:
            return _answer(request, pk, _("Saved"))
    template = "core/partials/colleague.html" if request.htmx else "core/colleague.html"
    return render(request, template, _context(request, person, form), status=422)


@requires("core.change_user")
@require_POST
def colleague_deactivate(request: StaffRequest, pk: int) -> HttpResponse:
    """Shut somebody out, with a way back."""
    undo = reverse("core:colleague_activate", args=[pk])
    return _act(request, pk, services.deactivate_colleague, _("{name} can no longer sign in"), undo=undo)


@requires("core.change_user")
@require_POST
def colleague_activate(request: StaffRequest, pk: int) -> HttpResponse:
    """Let somebody in again."""
    return _act(request, pk, services.activate_colleague, _("{name} can sign in again"))


@requires("core.change_user")
@require_POST
def colleague_reset_second_factor(request: StaffRequest, pk: int) -> HttpResponse:
    """When a phone or a key is lost: the next sign-in sets up a new one."""
    return _act(request, pk, services.reset_second_factor, _("{name} can set up a new second factor"))


@requires("core.change_user")
@require_POST
def colleague_end_sessions(request: StaffRequest, pk: int, session_pk: int | None = None) -> HttpResponse:
    """Sign somebody out of one browser, or everywhere."""
    get_object_or_404(User, pk=pk)
    services.end_sessions(pk, session_pk=session_pk)
    return _answer(request, pk, _("Signed out"))


@requires("core.change_user")
@require_POST
def colleague_link(request: StaffRequest, pk: int) -> HttpResponse:
    """A new link to choose a password, mailed and shown once."""
    person = get_object_or_404(User, pk=pk, is_active=True)
    _hand_out_link(request, person)
    if request.htmx:
        return render(request, "core/partials/colleague.html", _context(request, person))
    return redirect(person)


def _hand_out_link(request: StaffRequest, person: User) -> None:
    """Mail the link and keep it in the session for the page that shows it."""
    is_mailed = mail_sign_in_link(person)
    address = request.build_absolute_uri(services.sign_in_link(person))
    request.session[LINKS] = {str(person.pk): {"address": address, "is_mailed": is_mailed}}


def _act(
    request: StaffRequest, pk: int, verb: Callable[..., User], text: str, *, undo: str = ""
) -> HttpResponse:
    get_object_or_404(User, pk=pk)
    try:
        person = verb(pk, by=request.user)
    except DomainError as error:
        return _answer(request, pk, str(error), kind="error")
    return _answer(request, pk, text.format(name=person), undo=undo)


def _answer(
    request: StaffRequest, pk: int, text: str, *, kind: str = "success", undo: str = ""
) -> HttpResponse:
    """The page again with a word about what happened: a fragment and a toast, or a redirect."""
    person = get_object_or_404(User, pk=pk)
    if not request.htmx:
        messages.add_message(request, messages.ERROR if kind == "error" else messages.SUCCESS, text)
        return redirect(person)
    response = render(request, "core/partials/colleague.html", _context(request, person))
    toast = {"text": text, "kind": kind} | ({"undo": undo, "target": "#colleague"} if undo else {})
    response.headers["HX-Trigger"] = json.dumps({"toast": toast})
    return response


def _context(request: StaffRequest, person: User, form: ColleagueForm | None = None) -> dict[str, Any]:
    link = request.session.get(LINKS, {}).get(str(person.pk))
    if link:
        del request.session[LINKS]  # Shown once.
    return {
        "colleague": person,
        "form": form or ColleagueForm(instance=person),
        "factors": Authenticator.objects.filter(user=person).order_by("created_at"),
        "sessions": UserSession.objects.filter(user=person).order_by("-last_seen_at")[:20],
        "link": link,
    }
