"""The builder: rows, the live count, and one person checked against what is on the form."""

from typing import Any

from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import trigger_client_event

from core.errors import DomainError
from core.http import StaffRequest
from core.policy import requires
from core.templatetags.ui import num
from customers.models import Customer

from . import panel, services
from .builder import Builder
from .choices import Choices
from .forms import SegmentForm
from .models import Segment
from .rows import what_choices
from .tree import TreeError


@requires("segments.add_segment")
def segment_create(request: StaffRequest) -> HttpResponse:
    """A new segment by rules. Buttons of the builder post here too, named `do`."""
    if request.method != "POST":
        return _page(request, SegmentForm(), Builder.blank())
    return _posted(request, None)


@requires("segments.change_segment")
def segment_edit(request: StaffRequest, pk: int) -> HttpResponse:
    segment = get_object_or_404(Segment.objects.visible_to(request.user), pk=pk)
    if segment.is_list:
        return HttpResponseRedirect(reverse("segments:rename", args=[pk]))
    if request.method != "POST":
        form = SegmentForm({"name": segment.name, "description": segment.description})
        return _page(request, form, Builder.from_definition(segment.definition), segment)
    return _posted(request, segment)


def _posted(request: StaffRequest, segment: Segment | None) -> HttpResponse:
    """Carry out a button of the builder, or save."""
    form, builder = SegmentForm(request.POST), Builder.from_post(request.POST)
    if "do" in request.POST:
        builder.apply(request.POST["do"])
        return (
            _rules(request, builder, segment)
            if _is_fragment(request)
            else _page(request, form, builder, segment)
        )
    saved = _saved(request, form, builder, segment)
    if saved is None:
        return _page(request, form, builder, segment, status=422)
    return HttpResponseRedirect(reverse("segments:detail", args=[saved.pk]))


def _saved(
    request: StaffRequest, form: SegmentForm, builder: Builder, segment: Segment | None
) -> Segment | None:
    """The segment, or None with the form and the rows saying why not."""
    try:
        definition = builder.kept()
    except TreeError:
        form.is_valid()
        return None
    if not form.is_valid():
        return None
    try:
        if segment is None:
            return services.create_segment(**form.cleaned_data, definition=definition, by=request.user)
        return services.update_segment(
            segment.pk, **form.cleaned_data, definition=definition, by=request.user
        )
    except TreeError as error:
        builder.problems = error.problems
    except DomainError as error:
        form.add_error("name", str(error))
    return None


def _is_fragment(request: StaffRequest) -> bool:
    htmx = request.htmx
    return bool(htmx) and not htmx.boosted and not htmx.history_restore_request


def _choices(request: StaffRequest, segment: Segment | None) -> Choices:
    visible = Segment.objects.visible_to(request.user)
    return Choices(segments=visible, without=segment.pk if segment else None)


def _drawn(request: StaffRequest, builder: Builder, segment: Segment | None) -> dict[str, Any]:
    builder.draw(_choices(request, segment))
    return {"builder": builder, "segment": segment, "what_choices": what_choices()}


def _rules(request: StaffRequest, builder: Builder, segment: Segment | None) -> HttpResponse:
    response = render(request, "segments/partials/rules.html", _drawn(request, builder, segment))
    response["HX-Trigger-After-Swap"] = "segment-changed"
    return response


def _page(
    request: StaffRequest,
    form: SegmentForm,
    builder: Builder,
    segment: Segment | None = None,
    *,
    status: int = 200,
) -> HttpResponse:
    context = _drawn(request, builder, segment) | {"form": form}
    return render(request, "segments/builder.html", context, status=status)


@requires("segments.view_segment")
@require_POST
def segment_preview(request: StaffRequest) -> HttpResponse:
    """The live panel: how many the form matches, ten of them, and the person being checked."""
    builder = Builder.from_post(request.POST)
    customers = Customer.objects.visible_to(request.user).current()
    context = panel.of_builder(builder, customers, person=request.POST.get("person", ""))
    context["chosen"] = "chosen" in request.POST
    response = render(request, "segments/partials/panel.html", context)
    if measure := context.get("measure"):
        said = ngettext("{n} person matches", "{n} people match", measure.matches)
        trigger_client_event(response, "announce", {"text": said.format(n=num(measure.matches))})
    return response


@requires("segments.view_segment")
@require_safe
def people_search(request: StaffRequest) -> HttpResponse:
    """People to check, by name, address or number."""
    customers = Customer.objects.visible_to(request.user).current()
    query = request.GET.get("who", "").strip()[:100]
    visible = Segment.objects.visible_to(request.user)
    written = request.GET.get("segment", "")
    segment = get_object_or_404(visible, pk=written) if written.isdecimal() and len(written) < 19 else None
    context = {"query": query, "people": panel.find_people(query, customers), "segment": segment}
    return render(request, "segments/partials/people.html", context)
