"""Pages that need every room at once: health, and the search behind Ctrl K."""

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET
from prometheus_client import CONTENT_TYPE_LATEST

from core.policy import public, signed_in

from . import health, metrics
from .search import find


@public
def live(request: HttpRequest) -> HttpResponse:
    """The process answers; it asks nobody else."""
    return JsonResponse({"status": "ok"})


@public
def ready(request: HttpRequest) -> HttpResponse:
    """Whether to send requests here: 200, or 503 and what does not answer."""
    if failures := health.failures():
        return JsonResponse({"status": "unavailable", "failing": failures}, status=503)
    return JsonResponse({"status": "ok"})


@public
@require_GET
def prometheus(request: HttpRequest) -> HttpResponse:
    """Figures for Prometheus; for everybody who may not read them there is no such page."""
    if not metrics.may_read(request):
        raise Http404
    return HttpResponse(metrics.page(), content_type=CONTENT_TYPE_LATEST)


@signed_in
@require_GET
def search(request: HttpRequest) -> HttpResponse:
    """What the command palette shows for `q`; a fragment of options."""
    groups = find(request, request.GET.get("q", ""))
    return render(request, "ui/options.html", {"groups": groups})
