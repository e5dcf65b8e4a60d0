"""What customers reach from a message: followed links and the way out. No sign-in, no cookie."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import translation
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from core.policy import public

from . import services, tokens
from .machines import is_machine
from .models import Link, Message


@public
@require_safe
def click(request: HttpRequest, token: str) -> HttpResponse:
    """Follow a link of a message: only stored addresses, only by a token of ours."""
    try:
        message_id, link_id = tokens.read(tokens.CLICK, token)
        url = services.record_click(message_id, link_id, is_machine=is_machine(request))
    except (tokens.ForgedToken, ValueError, Message.DoesNotExist, Link.DoesNotExist):
        return render(request, "campaigns/public/unknown_link.html", status=404)
    response = HttpResponseRedirect(url)
    response["Referrer-Policy"] = "no-referrer"
    return response


@public
@csrf_exempt  # Mail providers post here for the reader (RFC 8058), without cookies; the token is the proof.
@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """Ask on GET, do it on POST: link scanners that only look change nothing."""
    try:
        [message_id] = tokens.read(tokens.UNSUBSCRIBE, token)
        message = Message.objects.select_related("customer", "campaign__brand").get(pk=message_id)
    except (tokens.ForgedToken, ValueError, Message.DoesNotExist):
        return render(request, "campaigns/public/unknown_link.html", status=404)
    done = ""
    if request.method == "POST":
        if "stay" in request.POST:
            services.resubscribe(message.pk)
            done = "stayed"
        else:
            one_click = request.POST.get("List-Unsubscribe") == "One-Click"
            services.unsubscribe(
                message.pk, source="one-click unsubscribe" if one_click else "unsubscribe page"
            )
            done = "left"
    with translation.override(message.customer.language or message.campaign.brand.default_language):
        context = {"message": message, "brand": message.campaign.brand, "done": done}
        return render(request, "campaigns/public/unsubscribe.html", context)
