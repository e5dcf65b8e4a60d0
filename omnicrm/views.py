"""Pages that need every room at once: health, and the search behind Ctrl K."""

from django.http import HttpRequest, HttpResponse, JsonResponse

from core.policy import public, signed_in

from . import health


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


@signed_in
def search(request: HttpRequest) -> HttpResponse:
    return HttpResponse("")
