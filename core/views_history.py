"""History: who changed what, of everything or of one thing."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.http import urlencode
from django.views.decorators.http import require_GET

from .history import NOBODY, Position, kind_name, kinds, read_history
from .http import StaffRequest
from .models import User
from .policy import requires, signed_in


@requires("core.view_history")
@require_GET
def history(request: StaffRequest) -> HttpResponse:
    """Every change, latest first; by whom and to what kind of thing can be chosen."""
    kind = request.GET.get("kind", "")
    filters = {"kind": kind if kind in kinds() else "", "who": _who(request.GET.get("who", ""))}
    before = Position.parse(request.GET.get("before", ""))
    entries, next_position = read_history(
        reader=request.user, kind=filters["kind"], who=filters["who"], before=before
    )
    context = {
        **filters,
        "entries": entries,
        "newest_url": _address(request, filters) if before else "",
        "older_url": _address(request, filters, next_position) if next_position else "",
        "people": User.objects.order_by("name", "pk").only("name", "email"),
        "nobody": NOBODY,
        "kinds": [(label, name) for name, label in sorted((kind_name(label), label) for label in kinds())],
    }
    return _render(request, "core/history.html", context)


@signed_in
@require_GET
def object_history(request: StaffRequest, kind: str, pk: int) -> HttpResponse:
    """The changes to one thing, for whoever may see the thing itself."""
    if kind not in kinds():
        raise Http404
    model: Any = kinds()[kind].pgh_tracked_model  # type: ignore[attr-defined]
    meta = model._meta
    if not request.user.has_perm(f"{meta.app_label}.view_{meta.model_name}"):
        raise PermissionDenied
    things = model._default_manager.all()
    visible = things.visible_to(request.user) if hasattr(things, "visible_to") else things
    thing = get_object_or_404(visible, pk=pk)
    before = Position.parse(request.GET.get("before", ""))
    entries, next_position = read_history(reader=request.user, kind=kind, pk=pk, before=before)
    context = {
        "thing": thing,
        "kind_name": kind_name(kind),
        "entries": entries,
        "newest_url": request.path if before else "",
        "older_url": _address(request, {}, next_position) if next_position else "",
    }
    return _render(request, "core/object_history.html", context)


def _render(request: StaffRequest, page: str, context: dict[str, Any]) -> HttpResponse:
    is_fragment = request.htmx and not request.htmx.boosted and not request.htmx.history_restore_request
    return render(request, "core/partials/history.html" if is_fragment else page, context)


def _address(request: StaffRequest, filters: dict[str, str], before: Position | None = None) -> str:
    query = {name: value for name, value in filters.items() if value}
    if before:
        query["before"] = str(before)
    return f"{request.path}?{urlencode(query)}" if query else request.path


def _who(value: str) -> str:
    """A person's id or NOBODY; anything else filters nothing."""
    return value if value == NOBODY or (value.isascii() and value.isdigit()) else ""
