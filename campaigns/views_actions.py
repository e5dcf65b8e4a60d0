"""What may be done to a campaign from its page: one POST each, and back to the page."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from core.errors import DomainError
from core.http import StaffRequest
from core.policy import requires

from . import services
from .forms import CancelForm, sentences
from .models import Campaign


def _campaign(request: StaffRequest, pk: int) -> Campaign:
    return get_object_or_404(Campaign.objects.visible_to(request.user), pk=pk)


def _do(request: StaffRequest, pk: int, verb: Callable[..., Any], done: str) -> HttpResponse:
    """Call a verb on a visible campaign, say what came of it, and show the campaign."""
    campaign = _campaign(request, pk)
    try:
        verb(campaign.pk, by=request.user)
    except DomainError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, done)
    return redirect("campaigns:detail", pk=pk)


@requires("campaigns.approve_campaign")
@require_POST
def campaign_approve(request: StaffRequest, pk: int) -> HttpResponse:
    """Let go what somebody else wants to send."""
    return _do(request, pk, services.approve_campaign, _("Approved. It goes out at its time."))


@requires("campaigns.send_campaign")
@require_POST
def campaign_unschedule(request: StaffRequest, pk: int) -> HttpResponse:
    """Back to draft."""
    return _do(request, pk, services.unschedule_campaign, _("Back to draft. Nothing will be sent."))


@requires("campaigns.send_campaign")
@require_POST
def campaign_pause(request: StaffRequest, pk: int) -> HttpResponse:
    """Hold what has not left yet."""
    return _do(request, pk, services.pause_campaign, _("Paused. What had left stays as it is."))


@requires("campaigns.send_campaign")
@require_POST
def campaign_resume(request: StaffRequest, pk: int) -> HttpResponse:
    """Go on sending."""
    return _do(request, pk, services.resume_campaign, _("Sending goes on."))


@requires("campaigns.send_campaign")
@require_POST
def campaign_end(request: StaffRequest, pk: int) -> HttpResponse:
    """Repeat no more; what is planned still goes."""
    return _do(request, pk, services.end_series, _("The series has ended. What was planned still goes out."))


@requires("campaigns.send_campaign")
@require_POST
def campaign_cancel(request: StaffRequest, pk: int) -> HttpResponse:
    """Send no more; the name must be typed, since nothing brings the rest back."""
    form = CancelForm(request.POST, campaign=_campaign(request, pk))
    if not form.is_valid():
        messages.error(request, sentences(form))
        return redirect("campaigns:detail", pk=pk)
    return _do(request, pk, services.cancel_campaign, _("Cancelled. Nothing more is sent."))


@requires("campaigns.add_campaign")
@require_POST
def campaign_duplicate(request: StaffRequest, pk: int) -> HttpResponse:
    """A new draft with the same audience and texts."""
    copy = services.duplicate_campaign(_campaign(request, pk).pk, by=request.user)
    messages.success(request, _("This is the copy. Choose its name and its time."))
    return redirect("campaigns:goal", pk=copy.pk)


@requires("campaigns.delete_campaign")
@require_POST
def campaign_delete(request: StaffRequest, pk: int) -> HttpResponse:
    """Throw a draft away."""
    campaign = _campaign(request, pk)
    try:
        services.delete_draft(campaign.pk, by=request.user)
    except DomainError as error:
        messages.error(request, str(error))
        return redirect("campaigns:detail", pk=pk)
    messages.success(request, _("The draft “{name}” was deleted.").format(name=campaign.name))
    return redirect("campaigns:list")
