"""Pages that need every room at once: health, and the search behind Ctrl K."""

from django.http import HttpRequest, HttpResponse, JsonResponse

from core.policy import public, signed_in


@public
def live(request: HttpRequest) -> HttpResponse:
    """The process answers; it asks nobody else."""
    return JsonResponse({"status": "ok"})


@public
def ready(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "ok"})


@signed_in
def search(request: HttpRequest) -> HttpResponse:
    return HttpResponse("")
