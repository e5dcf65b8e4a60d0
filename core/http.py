"""The request as our views meet it."""

from typing import TYPE_CHECKING

from django.http import HttpRequest

if TYPE_CHECKING:
    from django_htmx.middleware import HtmxDetails

    from .models import User


class StaffRequest(HttpRequest):
    """A request behind the sign-in: somebody who works here, and what htmx said. For annotations."""

    user: "User"
    htmx: "HtmxDetails"
