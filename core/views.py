from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render

from .navigation import navigation_for
from .policy import public, signed_in


@signed_in
def start(request: HttpRequest) -> HttpResponse:
    """The first page of a person's navigation: home for marketing, customers for the shop."""
    navigation = navigation_for(request)
    first = navigation[0]["items"][0]["url"]  # type: ignore[index]
    return HttpResponseRedirect(first)


@public
def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form that was open too long, or a cookie the browser refused."""
    return render(request, "403_csrf.html", status=403)
