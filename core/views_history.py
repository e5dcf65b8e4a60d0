"""History: who changed what, of everything or of one thing."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.http import urlencode
from django.views.decorators.http import require_GET

from .history import NOBODY, Position, kind_name, kinds, read_history
from .models import User
from .policy import requires, signed_in


@requires("core.view_history")
@require_GET
def history(request: HttpRequest) -> HttpResponse:
    """Every change, latest first; by whom and to what kind of thing can be chosen."""
    filters = {
        "kind": _one_of(request.GET.get("kind", ""), kinds()),
        "who": _who(request.GET.get("who", "")),
    }
    before = Position.parse(request.GET.get("before", ""))
    entries, next_position = read_history(reader=request.user, before=before, **filters)
    context = {
        **filters,
        "entries": entries,
        "newest_url": _address(request, filters) if before else "",
        "older_url": _address(request, filters, next_position) if next_position else "",
        "people": User.objects.order_by("name", "pk").only("name", "email"),
        "nobody": NOBODY,
        "kinds": sorted(((kind, kind_name(kind)) for kind in kinds()), key=lambda pair: pair[1]),
    }
    return _render(request, "core/history.html", context)


@signed_in
@require_GET
def object_history(request: HttpRequest, kind: str, pk: int) -> HttpResponse:
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


def _render(request: HttpRequest, page: str, context: dict[str, Any]) -> HttpResponse:
    is_fragment = request.htmx and not request.htmx.boosted and not request.htmx.history_restore_request
    return render(request, "core/partials/history.html" if is_fragment else page, context)


def _address(request: HttpRequest, filters: dict[str, str], before: Position | None = None) -> str:
    query = {name: value for name, value in filters.items() if value}
    if before:
        query["before"] = str(before)
    return f"{request.path}?{urlencode(query)}" if query else request.path


def _one_of(value: str, known: Any) -> str:
    return value if value in known else ""


def _who(value: str) -> str:
    """A person's id or NOBODY; anything else filters nothing."""
    return value if value == NOBODY or (value.isascii() and value.isdigit()) else ""
