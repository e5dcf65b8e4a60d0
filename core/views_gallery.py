from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from .policy import signed_in


@signed_in
def gallery(request: HttpRequest) -> HttpResponse:
    """Every component in every state, for whoever builds a screen."""
    return render(request, "ui/gallery.html")
