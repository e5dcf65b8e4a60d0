"""Campaigns as they are: the list, the page of one, the people behind its figures."""

from typing import Any
from uuid import UUID

from django.db.models import Count, Prefetch
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from core.errors import DomainError
from core.http import StaffRequest
from core.models import User
from core.policy import requires
from core.roles import PERMISSIONS, Role
from customers.keyset import page_of
from customers.models import Channel
from customers.page import customer_context, visible_customer

from . import audience, results, switch
from .checks import problems
from .explain import explain
from .models import Campaign, Content, Message
from .outcome import outcome_of
from .previews import preview
from .series import times_of
from .waiting import BeingCounted

S = Campaign.Status
TABS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "": (_("All"), tuple(S.values)),
    "draft": (_("Drafts"), (S.DRAFT,)),
    "approval": (_("Waiting for approval"), (S.APPROVAL,)),
    "scheduled": (_("Scheduled"), (S.SCHEDULED,)),
    "sending": (_("Sending"), (S.SENDING, S.PAUSED)),
    "sent": (_("Sent"), (S.SENT, S.CANCELLED)),
}
_COLUMNS = (Prefetch("contents", Content.objects.only("campaign", "channel", "language")), "include")


@requires("campaigns.view_campaign")
@require_safe
def campaign_list(request: StaffRequest) -> HttpResponse:
    """Every campaign, by state, with what came of it."""
    campaigns = Campaign.objects.visible_to(request.user)
    counts = dict(campaigns.order_by().values_list("status").annotate(Count("pk")))
    state = request.GET.get("state", "")
    state = state if state in TABS else ""
    query = request.GET.get("q", "").strip()[:100]
    found = campaigns.filter(status__in=TABS[state][1], name__icontains=query.replace("\0", ""))
    found = found.select_related("brand", "crontab").prefetch_related(*_COLUMNS)
    page = page_of(found, request.GET.dict(), moment="created_at", size=25)
    figures = results.figures_for(page.rows)
    context = {
        "tabs": [
            (key, label, sum(counts.get(s, 0) for s in states)) for key, (label, states) in TABS.items()
        ],
        "state": state,
        "query": query,
        "rows": [(campaign, figures[campaign.pk]) for campaign in page.rows],
        "page": page,
        "is_empty": not counts,
    }
    return _render(request, "list", context)


@requires("campaigns.view_campaign")
@require_safe
def campaign_detail(request: StaffRequest, pk: int) -> HttpResponse:
    """One campaign: its state, what may be done, its figures as they come in."""
    campaign = _campaign(request, pk)
    context = _live(request, campaign) | {
        "previews": [preview(content, None) for content in _contents(campaign)],
        "include": campaign.include.all(),
        "exclude": campaign.exclude.all(),
        "times": times_of(campaign) if campaign.is_series else None,
    }
    if campaign.status in (S.APPROVAL, S.SCHEDULED):
        context |= _forecast(campaign)
        if context.get("is_being_counted") and request.htmx.target == "who":  # The page asks again.
            return HttpResponse(status=204)
    elif campaign.status == S.DRAFT:
        context["problems"] = problems(campaign)
    return render(request, "campaigns/detail.html", context)


@requires("campaigns.view_campaign")
@require_safe
def campaign_results(request: StaffRequest, pk: int) -> HttpResponse:
    """The part of a campaign's page that changes while it is sent."""
    return render(request, "campaigns/partials/live.html", _live(request, _campaign(request, pk)))


@requires("campaigns.view_campaign")
@require_safe
def campaign_people(request: StaffRequest, pk: int) -> HttpResponse:
    """The people behind a figure of the campaign, with what became of each message."""
    campaign = _campaign(request, pk)
    chosen = {name: request.GET.get(name, "").replace("\0", "") for name in ("status", "channel", "reason")}
    behind = results.behind(
        campaign, group=chosen["status"], channel=chosen["channel"], reason=chosen["reason"]
    )
    found = behind.visible_to(request.user).select_related("customer", "campaign")
    found = found.prefetch_related("customer__identifiers")
    page = page_of(found, request.GET.dict(), moment="planned_at")
    context = {
        "campaign": campaign,
        "rows": [(message, explain(message)) for message in page.rows],
        "page": page,
        "chosen": chosen,
        "groups": results.LABELS,
        "channels": Channel.choices,
        "reasons": Message.Reason.choices,
    }
    return _render(request, "people", context)


@requires("customers.view_customer")
@require_safe
def customer_messages(request: StaffRequest, public_id: UUID) -> HttpResponse:
    """A tab of the customer's page: every message, and why it was or was not sent."""
    customer = visible_customer(request.user, public_id)
    messages = Message.objects.visible_to(request.user).filter(customer=customer)
    messages = messages.select_related("campaign", "content").prefetch_related("clicks")
    page = page_of(messages, request.GET.dict(), moment="planned_at", size=25)
    context = {
        "page": page,
        "rows": [(message, explain(message)) for message in page.rows],
        **customer_context(request, customer, tab="messages"),
    }
    return _render(request, "customer_messages", context)


def _campaign(request: StaffRequest, pk: int) -> Campaign:
    related = ("brand", "crontab", "created_by", "requested_by", "approved_by")
    campaigns = Campaign.objects.visible_to(request.user).select_related(*related)
    return get_object_or_404(campaigns, pk=pk)


def _contents(campaign: Campaign) -> list[Content]:
    contents = list(campaign.contents.select_related("sender"))
    for content in contents:
        content.campaign = campaign  # With its brand, which rendering reads.
    return contents


def _live(request: StaffRequest, campaign: Campaign) -> dict[str, Any]:
    """What partials/live.html needs: the state with its buttons, the figures once there are any, and `held`,
    the switch that keeps its messages from leaving."""
    context: dict[str, Any] = {
        "campaign": campaign,
        "now": now(),
        "poll_seconds": results.poll_seconds(campaign),
    }
    if campaign.status == S.APPROVAL:
        context["approvers"] = _approvers(campaign)
    if campaign.planned_at:
        found = results.results_of(campaign)
        context |= {"results": found, "speed": results.speed_of(found), "outcome": outcome_of(campaign)}
        if campaign.status == S.SENDING:
            context["held"] = switch.why_off([figures.channel for figures in found.channels])
    return context


def _forecast(campaign: Campaign) -> dict[str, Any]:
    try:
        found = results.forecast_of(campaign)
    except BeingCounted:
        return {"is_being_counted": True}
    except DomainError as error:
        return {"forecast_error": str(error)}
    return {"forecast": found, "reach": audience.rows_of(found.sendable, found.held_back)}


def _approvers(campaign: Campaign) -> list[User]:
    """Who may let this campaign go: everybody with the right but the one who asked."""
    may = [Role.ADMINISTRATOR] + [
        role for role, permissions in PERMISSIONS.items() if "campaigns.approve_campaign" in permissions
    ]
    people = User.objects.filter(role__in=may, is_active=True)
    if campaign.requested_by_id:
        people = people.exclude(pk=campaign.requested_by_id)
    return list(people.order_by("name")[:6])


def _render(request: StaffRequest, name: str, context: dict[str, Any]) -> HttpResponse:
    """The page, or the part of it htmx asked for."""
    htmx = request.htmx
    is_fragment = htmx and not htmx.boosted and not htmx.history_restore_request
    return render(request, f"campaigns/{'partials/' if is_fragment else ''}{name}.html", context)
