from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST
from django_htmx.http import trigger_client_event

from core.errors import DomainError
from core.policy import requires
from customers.models import Customer

from . import pages, questions, services
from .forms import ListForm, PasteForm, SegmentForm
from .models import Segment
from .tree import TreeError


def _segment(request: HttpRequest, pk: int) -> Segment:
    return get_object_or_404(Segment.objects.visible_to(request.user), pk=pk)  # type: ignore[arg-type]


def _is_fragment(request: HttpRequest) -> bool:
    htmx = request.htmx  # type: ignore[attr-defined]
    return bool(htmx and not htmx.boosted and not htmx.history_restore_request)


def _to_detail(segment: Segment) -> HttpResponse:
    return HttpResponseRedirect(reverse("segments:detail", args=[segment.pk]))


@requires("segments.view_segment")
def segment_list(request: HttpRequest) -> HttpResponse:
    visible = Segment.objects.visible_to(request.user)  # type: ignore[arg-type]
    context = pages.list_context(visible, request.GET)
    template = "segments/partials/table.html" if _is_fragment(request) else "segments/list.html"
    return render(request, template, context)


@requires("segments.view_segment")
def segment_detail(request: HttpRequest, pk: int) -> HttpResponse:
    segment = _segment(request, pk)
    customers = Customer.objects.visible_to(request.user)  # type: ignore[arg-type]
    visible = Segment.objects.visible_to(request.user)  # type: ignore[arg-type]
    context = pages.detail_context(segment, visible, customers, before=request.GET.get("before"))
    return render(request, "segments/detail.html", context | {"paste": PasteForm()})


@requires("segments.view_segment")
def segment_members(request: HttpRequest, pk: int) -> HttpResponse:
    """The members alone, a page at a time."""
    segment = _segment(request, pk)
    customers = Customer.objects.visible_to(request.user)  # type: ignore[arg-type]
    if not _is_fragment(request):
        return HttpResponseRedirect(f"{reverse('segments:detail', args=[pk])}?{request.GET.urlencode()}")
    context = pages.members_context(segment, customers, before=request.GET.get("before", ""))
    return render(request, "segments/partials/members.html", context)


@requires("segments.view_segment")
@require_POST
def segment_count(request: HttpRequest, pk: int) -> HttpResponse:
    segment, problem = _segment(request, pk), ""
    try:
        segment = services.count_segment(segment.pk)
    except (questions.TooSlow, TreeError) as error:
        problem = str(error)
        segment.refresh_from_db()
    if not _is_fragment(request):
        if problem:
            messages.error(request, problem)
        return _to_detail(segment)
    context = {"segment": segment, "problem": problem, "is_counted_now": True}
    return render(request, "segments/partials/figures.html", context, status=422 if problem else 200)


@requires("segments.view_segment")
def segment_overlap(request: HttpRequest, pk: int) -> HttpResponse:
    """How many people this segment shares with the one named `with`."""
    segment, other = _segment(request, pk), request.GET.get("with", "")
    visible = Segment.objects.visible_to(request.user).active().exclude(pk=pk)  # type: ignore[arg-type]
    if not _is_fragment(request):
        return _to_detail(segment)
    chosen = get_object_or_404(visible, pk=other) if other.isdecimal() and len(other) < 19 else None
    context: dict[str, Any] = {"segment": segment, "other": chosen, "others": visible.only("name")}
    if chosen:
        try:
            context["overlap"] = questions.overlap(segment.pk, chosen.pk)
        except (questions.TooSlow, TreeError) as error:
            context["overlap_problem"] = str(error)
    return render(request, "segments/partials/overlap.html", context)


@requires("segments.view_segment")
def segment_why(request: HttpRequest, pk: int, public_id: str) -> HttpResponse:
    """Why one person is in this segment or not."""
    segment = _segment(request, pk)
    people = Customer.objects.visible_to(request.user).current()  # type: ignore[arg-type]
    person = get_object_or_404(people, public_id=public_id)
    context: dict[str, Any] = {"segment": segment, "person": person}
    try:
        context["checked"] = questions.explain(questions.in_segment(pk), person.pk)
    except (questions.TooSlow, TreeError) as error:
        context["problem"] = str(error)
    template = "segments/partials/verdict.html" if _is_fragment(request) else "segments/why.html"
    return render(request, template, context)


@requires("segments.view_segment")
def customer_segments(request: HttpRequest, public_id: str) -> HttpResponse:
    """The segments one person is in and, for the others, why not: a tab of the customer page."""
    people = Customer.objects.visible_to(request.user)  # type: ignore[arg-type]
    customer = get_object_or_404(people, public_id=public_id)
    visible = Segment.objects.visible_to(request.user)  # type: ignore[arg-type]
    return render(request, "segments/customer.html", pages.customer_context(customer, visible))


# --- put away, bring back, copy -------------------------------------------------------------------


@requires("segments.delete_segment")
@require_POST
def segment_archive(request: HttpRequest, pk: int) -> HttpResponse:
    segment = _segment(request, pk)
    try:
        segment = services.archive_segment(segment.pk, by=request.user)  # type: ignore[arg-type]
    except DomainError as error:
        return _told(request, segment, str(error), kind="error")
    text = _("“{name}” is in the archive.").format(name=segment.name)
    return _told(request, segment, text, undo=reverse("segments:restore", args=[pk]))


@requires("segments.delete_segment")
@require_POST
def segment_restore(request: HttpRequest, pk: int) -> HttpResponse:
    segment = services.restore_segment(_segment(request, pk).pk, by=request.user)  # type: ignore[arg-type]
    return _told(request, segment, _("“{name}” is back.").format(name=segment.name))


def _told(
    request: HttpRequest, segment: Segment, text: str, *, kind: str = "success", undo: str = ""
) -> HttpResponse:
    """The page of the segment again, with a toast."""
    if not _is_fragment(request):
        messages.add_message(request, messages.ERROR if kind == "error" else messages.SUCCESS, text)
        return _to_detail(segment)
    customers = Customer.objects.visible_to(request.user)  # type: ignore[arg-type]
    visible = Segment.objects.visible_to(request.user)  # type: ignore[arg-type]
    context = pages.detail_context(segment, visible, customers, before=None)
    response = render(request, "segments/partials/segment.html", context | {"paste": PasteForm()})
    toast = {"text": text, "kind": kind} | ({"undo": undo} if undo else {})
    return trigger_client_event(response, "toast", toast)


@requires("segments.add_segment")
@require_POST
def segment_duplicate(request: HttpRequest, pk: int) -> HttpResponse:
    copy = services.duplicate_segment(_segment(request, pk).pk, by=request.user)  # type: ignore[arg-type]
    return HttpResponseRedirect(reverse("segments:edit", args=[copy.pk]))


# --- fixed lists ----------------------------------------------------------------------------------


@requires("segments.add_segment")
def list_create(request: HttpRequest) -> HttpResponse:
    form = ListForm(request.POST or None)
    if form.is_valid():
        try:
            segment, outcome = services.create_list(**form.cleaned_data, by=request.user)  # type: ignore[arg-type]
            pages.tell_outcome(request, outcome)
            return _to_detail(segment)
        except DomainError as error:
            form.add_error(None, str(error))
    status = 422 if form.errors else 200
    return render(request, "segments/list_form.html", {"form": form}, status=status)


@requires("segments.change_segment")
def list_edit(request: HttpRequest, pk: int) -> HttpResponse:
    """Another name for a fixed list."""
    segment = _segment(request, pk)
    form = SegmentForm(request.POST or {"name": segment.name, "description": segment.description})
    if request.method == "POST" and form.is_valid():
        try:
            services.update_segment(pk, **form.cleaned_data, definition=segment.definition, by=request.user)  # type: ignore[arg-type]
            return _to_detail(segment)
        except DomainError as error:
            form.add_error(None, str(error))
    status = 422 if form.errors else 200
    return render(request, "segments/list_form.html", {"form": form, "segment": segment}, status=status)


@requires("segments.change_segment")
@require_POST
def members_add(request: HttpRequest, pk: int) -> HttpResponse:
    segment, form = _segment(request, pk), PasteForm(request.POST)
    if form.is_valid():
        try:
            outcome = services.add_members(pk, **form.cleaned_data, by=request.user)  # type: ignore[arg-type]
            pages.tell_outcome(request, outcome)
            return _to_detail(segment)
        except DomainError as error:
            form.add_error(None, str(error))
    visible = Segment.objects.visible_to(request.user)  # type: ignore[arg-type]
    customers = Customer.objects.visible_to(request.user)  # type: ignore[arg-type]
    context = pages.detail_context(segment, visible, customers, before=None)
    return render(request, "segments/detail.html", context | {"paste": form}, status=422)


@requires("segments.change_segment")
@require_POST
def member_remove(request: HttpRequest, pk: int, public_id: str) -> HttpResponse:
    segment = _segment(request, pk)
    people = Customer.objects.visible_to(request.user)  # type: ignore[arg-type]
    person = get_object_or_404(people, public_id=public_id)
    try:
        services.remove_members(pk, customer_ids=[person.pk])
    except DomainError as error:
        return _told(request, segment, str(error), kind="error")
    segment.refresh_from_db()
    text = _("{person} is off the list.").format(person=person)
    return _told(request, segment, text, undo=reverse("segments:member_restore", args=[pk, public_id]))


@requires("segments.change_segment")
@require_POST
def member_restore(request: HttpRequest, pk: int, public_id: str) -> HttpResponse:
    """Undo of a removal."""
    segment = _segment(request, pk)
    people = Customer.objects.visible_to(request.user)  # type: ignore[arg-type]
    person = get_object_or_404(people, public_id=public_id)
    try:
        services.add_members(pk, customer_ids=[person.pk], by=request.user)  # type: ignore[arg-type]
    except DomainError as error:
        return _told(request, segment, str(error), kind="error")
    segment.refresh_from_db()
    return _told(request, segment, _("{person} is on the list again.").format(person=person))
