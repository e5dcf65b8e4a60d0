from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import trigger_client_event

from core.errors import DomainError
from core.http import StaffRequest
from core.policy import requires
from customers.models import Customer
from customers.page import customer_context, visible_customer

from . import pages, questions, services
from .forms import ListForm, PasteForm, SegmentForm
from .limits import TooSlow
from .models import Segment
from .tree import TreeError


def _segment(request: StaffRequest, pk: int) -> Segment:
    return get_object_or_404(Segment.objects.visible_to(request.user), pk=pk)


def _is_fragment(request: StaffRequest) -> bool:
    htmx = request.htmx
    return bool(htmx) and not htmx.boosted and not htmx.history_restore_request


def _to_detail(segment: Segment) -> HttpResponse:
    return HttpResponseRedirect(reverse("segments:detail", args=[segment.pk]))


@requires("segments.view_segment")
@require_safe
def segment_list(request: StaffRequest) -> HttpResponse:
    visible = Segment.objects.visible_to(request.user)
    context = pages.list_context(visible, request.GET)
    template = "segments/partials/table.html" if _is_fragment(request) else "segments/list.html"
    return render(request, template, context)


@requires("segments.view_segment")
@require_safe
def segment_detail(request: StaffRequest, pk: int) -> HttpResponse:
    segment = _segment(request, pk)
    customers = Customer.objects.visible_to(request.user)
    visible = Segment.objects.visible_to(request.user)
    context = pages.detail_context(segment, visible, customers, before=request.GET.get("before"))
    return render(request, "segments/detail.html", context | {"paste": PasteForm()})


@requires("segments.view_segment")
@require_safe
def segment_members(request: StaffRequest, pk: int) -> HttpResponse:
    """The members alone, a page at a time."""
    segment = _segment(request, pk)
    customers = Customer.objects.visible_to(request.user)
    if not _is_fragment(request):
        return HttpResponseRedirect(f"{reverse('segments:detail', args=[pk])}?{request.GET.urlencode()}")
    context = pages.members_context(segment, customers, before=request.GET.get("before", ""))
    return render(request, "segments/partials/members.html", context)


@requires("segments.view_segment")
@require_POST
def segment_count(request: StaffRequest, pk: int) -> HttpResponse:
    segment, problem = _segment(request, pk), ""
    try:
        segment = services.count_segment(segment.pk)
    except TooSlow:
        problem = _("This takes a while, so the workers are counting it. Look again in a minute.")
    except TreeError as error:
        problem = str(error)
    segment.refresh_from_db()
    if not _is_fragment(request):
        if problem:
            messages.warning(request, problem)
        return _to_detail(segment)
    context = {"segment": segment, "problem": problem, "is_counted_now": True}
    return render(request, "segments/partials/figures.html", context, status=422 if problem else 200)


@requires("segments.view_segment")
@require_safe
def segment_overlap(request: StaffRequest, pk: int) -> HttpResponse:
    """How many people this segment shares with the one named `with`."""
    segment, other = _segment(request, pk), request.GET.get("with", "")
    visible = Segment.objects.visible_to(request.user).active().exclude(pk=pk)
    if not _is_fragment(request):
        return _to_detail(segment)
    chosen = get_object_or_404(visible, pk=other) if other.isdecimal() and len(other) < 19 else None
    context: dict[str, Any] = {"segment": segment, "other": chosen, "others": visible.only("name")}
    if chosen:
        try:
            context["overlap"] = questions.overlap(segment.pk, chosen.pk)
        except (TooSlow, TreeError) as error:
            context["overlap_problem"] = str(error)
    return render(request, "segments/partials/overlap.html", context)


@requires("segments.view_segment")
@require_safe
def segment_why(request: StaffRequest, pk: int, public_id: UUID) -> HttpResponse:
    """Why one person is in this segment or not."""
    segment = _segment(request, pk)
    person = visible_customer(request.user, public_id)
    context: dict[str, Any] = {"segment": segment, "person": person}
    try:
        context["checked"] = questions.explain(questions.in_segment(pk), person.pk)
    except (TooSlow, TreeError) as error:
        context["problem"] = str(error)
    template = "segments/partials/verdict.html" if _is_fragment(request) else "segments/why.html"
    return render(request, template, context)


@requires("segments.view_segment")
@require_safe
def customer_segments(request: StaffRequest, public_id: UUID) -> HttpResponse:
    """The segments one person is in and, for the others, why not: a tab of the customer page."""
    customer = visible_customer(request.user, public_id)
    visible = Segment.objects.visible_to(request.user)
    context = customer_context(request, customer, tab="segments") | pages.memberships_context(
        customer, visible
    )
    return render(request, "segments/customer.html", context)


# --- put away, bring back, copy -------------------------------------------------------------------


@requires("segments.delete_segment")
@require_POST
def segment_archive(request: StaffRequest, pk: int) -> HttpResponse:
    segment = _segment(request, pk)
    try:
        segment = services.archive_segment(segment.pk, by=request.user)
    except DomainError as error:
        return _told(request, segment, str(error), kind="error")
    text = _("“{name}” is in the archive.").format(name=segment.name)
    return _told(request, segment, text, undo=reverse("segments:restore", args=[pk]))


@requires("segments.delete_segment")
@require_POST
def segment_restore(request: StaffRequest, pk: int) -> HttpResponse:
    segment = services.restore_segment(_segment(request, pk).pk, by=request.user)
    return _told(request, segment, _("“{name}” is back.").format(name=segment.name))


def _told(
    request: StaffRequest, segment: Segment, text: str, *, kind: str = "success", undo: str = ""
) -> HttpResponse:
    """The page of the segment again, with a toast."""
    if not _is_fragment(request):
        messages.add_message(request, messages.ERROR if kind == "error" else messages.SUCCESS, text)
        return _to_detail(segment)
    customers = Customer.objects.visible_to(request.user)
    visible = Segment.objects.visible_to(request.user)
    context = pages.detail_context(segment, visible, customers, before=None)
    response = render(request, "segments/partials/segment.html", context | {"paste": PasteForm()})
    toast = {"text": text, "kind": kind} | ({"undo": undo} if undo else {})
    return trigger_client_event(response, "toast", toast)


@requires("segments.add_segment")
@require_POST
def segment_duplicate(request: StaffRequest, pk: int) -> HttpResponse:
    copy = services.duplicate_segment(_segment(request, pk).pk, by=request.user)
    return HttpResponseRedirect(reverse("segments:edit", args=[copy.pk]))


# --- fixed lists ----------------------------------------------------------------------------------


@requires("segments.add_segment")
def list_create(request: StaffRequest) -> HttpResponse:
    form = ListForm(request.POST or None)
    if form.is_valid():
        try:
            segment, outcome = services.create_list(**form.cleaned_data, by=request.user)
            pages.tell_outcome(request, outcome)
            return _to_detail(segment)
        except DomainError as error:
            form.add_error(None, str(error))
    status = 422 if form.errors else 200
    return render(request, "segments/list_form.html", {"form": form}, status=status)


@requires("segments.change_segment")
def list_edit(request: StaffRequest, pk: int) -> HttpResponse:
    """Another name for a fixed list."""
    segment = _segment(request, pk)
    form = SegmentForm(request.POST or {"name": segment.name, "description": segment.description})
    if request.method == "POST" and form.is_valid():
        try:
            services.update_segment(pk, **form.cleaned_data, definition=segment.definition, by=request.user)
            return _to_detail(segment)
        except DomainError as error:
            form.add_error(None, str(error))
    status = 422 if form.errors else 200
    return render(request, "segments/list_form.html", {"form": form, "segment": segment}, status=status)


@requires("segments.change_segment")
@require_POST
def members_change(request: StaffRequest, pk: int) -> HttpResponse:
    """People pasted: added or, with `do` saying so, taken out."""
    segment, form = _segment(request, pk), PasteForm(request.POST)
    verb = services.remove_members if request.POST.get("do") == "out" else services.add_members
    if form.is_valid():
        try:
            outcome = verb(pk, **form.cleaned_data, by=request.user)
            pages.tell_outcome(request, outcome, is_out=verb is services.remove_members)
            return _to_detail(segment)
        except DomainError as error:
            form.add_error(None, str(error))
    visible = Segment.objects.visible_to(request.user)
    customers = Customer.objects.visible_to(request.user)
    context = pages.detail_context(segment, visible, customers, before=None)
    if segment.archived_at:  # Then the page has no form to say it at.
        context["problem"] = " ".join(str(error) for error in form.non_field_errors())
    return render(request, "segments/detail.html", context | {"paste": form}, status=422)


@requires("segments.change_segment")
@require_POST
def member_add(request: StaffRequest, pk: int, public_id: UUID) -> HttpResponse:
    return _by_hand(request, pk, public_id, "add")


@requires("segments.change_segment")
@require_POST
def member_remove(request: StaffRequest, pk: int, public_id: UUID) -> HttpResponse:
    return _by_hand(request, pk, public_id, "remove")


@requires("segments.change_segment")
@require_POST
def member_release(request: StaffRequest, pk: int, public_id: UUID) -> HttpResponse:
    """The rules decide about this person again."""
    return _by_hand(request, pk, public_id, "release")


def _by_hand(request: StaffRequest, pk: int, public_id: UUID, verb: str) -> HttpResponse:
    """Decide about one person, with a way back to what held before."""
    segment, person = _segment(request, pk), visible_customer(request.user, public_id)
    undo = pages.way_back(segment, person)
    try:
        text = pages.decide(segment, person, verb, by=request.user)
    except DomainError as error:
        return _told(request, segment, str(error), kind="error")
    segment.refresh_from_db()
    return _told(request, segment, text, undo=undo)
