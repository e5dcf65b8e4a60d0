"""Writing a campaign: goal, audience, schedule and review. Content has views of its own."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from core.errors import DomainError
from core.http import StaffRequest
from core.policy import requires

from . import audience, rendering, services, wizard
from .checks import AUDIENCE, GOAL, SCHEDULE
from .foresight import foresee
from .forms import AudienceForm, GoalForm, LaunchForm, sentences
from .forms_schedule import OPTIONS, ScheduleForm
from .models import Brand, Campaign
from .waiting import BeingCounted
from .walls import zone_names

TYPE_ABOVE = 10_000  # People; a larger launch asks for its number, typed.
TOLERANCE = 0.01  # How far the audience may have moved since the number on the button was read.


def wizard_context(campaign: Campaign, step: str) -> dict[str, Any]:
    """What templates/campaigns/wizard.html needs."""
    return {"campaign": campaign, "steps": wizard.steps_of(campaign), "step": step}


def editable(request: StaffRequest, pk: int) -> Campaign:
    """The campaign of a wizard page, with its brand; 404 when not visible."""
    campaigns = Campaign.objects.visible_to(request.user).select_related("brand", "crontab")
    return get_object_or_404(campaigns, pk=pk)


def posted(request: StaffRequest) -> QueryDict | None:
    """What a form was sent with; None where it is only shown, which an empty form is not."""
    return request.POST if request.method == "POST" else None


def started(request: StaffRequest, campaign: Campaign) -> HttpResponse:
    """The answer to editing what has left the house."""
    messages.error(request, _("This campaign has started, so it can no longer be edited. Duplicate it."))
    return redirect("campaigns:detail", pk=campaign.pk)


@requires("campaigns.add_campaign")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_new(request: StaffRequest) -> HttpResponse:
    """Name the campaign and say what it is for; the draft begins here."""
    brand = Brand.objects.order_by("pk").first()
    form = GoalForm(posted(request), initial={"brand": brand})
    if request.method == "POST" and form.is_valid():
        campaign = services.create_campaign(by=request.user, **form.cleaned_data)
        return redirect("campaigns:audience", pk=campaign.pk)
    context = {"form": form, "step": GOAL, "steps": None, "has_brand": brand is not None}
    return render(request, "campaigns/goal.html", context, status=422 if form.errors else 200)


@requires("campaigns.change_campaign")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_goal(request: StaffRequest, pk: int) -> HttpResponse:
    """The name, the brand and the number to reach."""
    campaign = editable(request, pk)
    if not campaign.is_editable:
        return started(request, campaign)
    form = GoalForm(posted(request), instance=editable(request, pk))
    if request.method == "POST" and form.is_valid():
        services.update_campaign(pk, by=request.user, **form.cleaned_data)
        return redirect(wizard.next_url(campaign, GOAL))
    context = wizard_context(campaign, GOAL) | {"form": form, "has_brand": True}
    return render(request, "campaigns/goal.html", context, status=422 if form.errors else 200)


@requires("campaigns.change_campaign")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_audience(request: StaffRequest, pk: int) -> HttpResponse:
    """Whom to send to, and whom to leave out."""
    campaign = editable(request, pk)
    if not campaign.is_editable:
        return started(request, campaign)
    segments = AudienceForm.choices_for(request.user, campaign)
    chosen = {
        "include": list(campaign.include.values_list("pk", flat=True)),
        "exclude": list(campaign.exclude.values_list("pk", flat=True)),
    }
    form = AudienceForm(posted(request), segments=segments, initial=chosen)
    if request.method == "POST" and form.is_valid():
        services.set_audience(pk, by=request.user, **form.cleaned_data)
        return redirect(wizard.next_url(campaign, AUDIENCE))
    context = wizard_context(campaign, AUDIENCE) | {"form": form, "segments": segments, **chosen}
    context |= _reach(chosen["include"], chosen["exclude"])
    return render(request, "campaigns/audience.html", context, status=422 if form.errors else 200)


@requires("campaigns.view_campaign")
@require_safe
def campaign_audience_count(request: StaffRequest, pk: int) -> HttpResponse:
    """The live number: people and reachable per channel for the segments ticked now."""
    campaign = editable(request, pk)
    form = AudienceForm(request.GET, segments=AudienceForm.choices_for(request.user, campaign))
    if form.is_valid():
        chosen = {name: [segment.pk for segment in form.cleaned_data[name]] for name in form.fields}
        context = _reach(**chosen)
    else:
        context = {"reach_error": sentences(form)}
    if context.get("is_being_counted") and request.htmx.trigger == "reach-waits":
        return HttpResponse(status=204)
    return render(request, "campaigns/partials/reach.html", context | {"campaign": campaign})


def _reach(include: list[int], exclude: list[int]) -> dict[str, Any]:
    if not include:
        return {"reach": None}
    try:
        answer = audience.reach_of(include, exclude)
    except BeingCounted:
        return {"reach": None, "is_being_counted": True}
    except DomainError as error:
        return {"reach": None, "reach_error": str(error)}
    return {"reach": answer.found, "counted_at": answer.as_of}


@requires("campaigns.change_campaign")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_schedule(request: StaffRequest, pk: int) -> HttpResponse:
    """When it goes out and how often, on whose clock, how fast, and how late it may be."""
    campaign = editable(request, pk)
    if not campaign.is_editable:
        return started(request, campaign)
    form = ScheduleForm(posted(request), campaign=campaign)
    if request.method == "POST" and form.is_valid():
        services.set_schedule(pk, repeat=form.repeat, by=request.user, **form.fields_of_campaign)
        return redirect(wizard.next_url(campaign, SCHEDULE))
    context = wizard_context(campaign, SCHEDULE) | {
        "form": form,
        "options": OPTIONS,
        "now": now(),
        "timezones": sorted(zone for zone in zone_names() if "/" in zone),
        "foresight": None if form.errors else foresee(campaign),
    }
    return render(request, "campaigns/schedule.html", context, status=422 if form.errors else 200)


@requires("campaigns.view_campaign")
@require_safe
def campaign_schedule_words(request: StaffRequest, pk: int) -> HttpResponse:
    """What the answers given so far would do, in words; an open question is named instead."""
    form = ScheduleForm(request.GET, campaign=editable(request, pk))
    context = {"foresight": foresee(form.applied())} if form.is_valid() else {"open": sentences(form)}
    return render(request, "campaigns/partials/foresight.html", context)


@requires("campaigns.view_campaign")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_review(request: StaffRequest, pk: int) -> HttpResponse:
    """Everything once more, and the button that says what it does."""
    campaign = editable(request, pk)
    if not campaign.is_editable:
        return redirect("campaigns:detail", pk=pk)
    if request.method == "POST":
        return launch(request, campaign)
    return _review_page(request, campaign)


def launch(request: StaffRequest, campaign: Campaign) -> HttpResponse:
    """Schedule it, when what was read on the button still holds."""
    if not request.user.has_perm("campaigns.send_campaign"):
        raise PermissionDenied("campaigns.send_campaign")
    form = LaunchForm(request.POST)
    form.full_clean()
    try:
        _confirm(campaign, form)
        launched = services.schedule_campaign(
            campaign.pk, send_at=_future(campaign), expires_at=campaign.expires_at, by=request.user
        )
    except DomainError as error:
        return _review_page(request, editable(request, campaign.pk), error=str(error))
    if launched.status == Campaign.Status.APPROVAL:
        messages.success(request, _("Approval was asked for. Nothing leaves before it is given."))
    elif not launched.starts_at_once:
        messages.success(request, _("The campaign is scheduled."))
    else:
        messages.success(request, _("The campaign is on its way."))
    return redirect("campaigns:detail", pk=campaign.pk)


def _future(campaign: Campaign) -> Any:
    """The chosen time, or None to send at once."""
    return campaign.send_at if campaign.send_at and campaign.send_at > now() else None


def _confirm(campaign: Campaign, form: LaunchForm) -> None:
    """Refuse a launch to another number of people than was read, or one not typed when it is large."""
    people = audience.forecast_of(campaign).found.people
    seen = form.cleaned_data.get("people")
    if seen is None or abs(people - seen) > max(TOLERANCE * people, 10):
        raise DomainError(_("The audience has changed since you looked. Check the new number."))
    if people > type_above(campaign) and form.cleaned_data.get("typed") != str(seen):
        raise DomainError(_("Type the number of people to confirm this launch."))


def type_above(campaign: Campaign) -> int:
    """From how many people on the number must be typed."""
    return min(TYPE_ABOVE, campaign.brand.approval_above)


def _review_page(request: StaffRequest, campaign: Campaign, *, error: str = "") -> HttpResponse:
    context = wizard_context(campaign, wizard.REVIEW) | {
        "error": error,
        "send_at": _future(campaign),
        "foresight": foresee(campaign),
        "contents": campaign.contents.select_related("sender"),
        "links": _links(campaign),
        "include": campaign.include.all(),
        "exclude": campaign.exclude.all(),
    }
    try:
        context |= _counted(campaign)
    except BeingCounted:
        if request.htmx.target == "who":  # The page is there, and asks again.
            return HttpResponse(status=204)
        context["is_being_counted"] = True
    except DomainError as problem:
        context["error"] = error or str(problem)
    return render(request, "campaigns/review.html", context, status=422 if error else 200)


def _counted(campaign: Campaign) -> dict[str, Any]:
    """What the review says of the audience."""
    answer, spoken = audience.forecast_of(campaign), audience.languages_of(campaign)
    found = answer.found
    return {
        "forecast": found,
        "counted_at": answer.as_of,
        "pace": found.departure if campaign.throttle_per_hour else None,
        "reach": audience.rows_of(found.sendable, found.held_back),
        "needs_approval": found.people > campaign.brand.approval_above,
        "needs_typing": found.people > type_above(campaign),
        "spoken": spoken.found,
    }


def _links(campaign: Campaign) -> list[str]:
    found: set[str] = set()
    for content in campaign.contents.select_related("campaign__brand", "sender"):
        try:
            found |= rendering.links_in(content)
        except DomainError:
            continue  # The step's problems say it.
    return sorted(found)
