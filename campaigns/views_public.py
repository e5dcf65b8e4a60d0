"""What customers reach from a message: followed links, the way out, the picture. No sign-in, no cookie."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import translation
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from core.policy import public

from . import services, tokens, tracking
from .models import Link, Message

# One transparent point: the smallest picture every mail program shows.
_POINT = bytes.fromhex(
    "47494638396101000100800000ffffff00000021f90401000000002c000000000100010000020244 01003b"
)


@public
@require_safe
def click(request: HttpRequest, token: str) -> HttpResponse:
    """Follow a link of a message: only stored addresses, only by a token of ours."""
    try:
        message_id, link_id = tokens.read(tokens.CLICK, token)
        url = tracking.record_click(message_id, link_id, request)
    except (tokens.ForgedToken, ValueError, Message.DoesNotExist, Link.DoesNotExist):
        return render(request, "campaigns/public/unknown_link.html", status=404)
    response = HttpResponseRedirect(url)
    response["Referrer-Policy"] = "no-referrer"
    return response


@public
@require_safe
def open_pixel(request: HttpRequest, token: str) -> HttpResponse:
    """The picture in mails to those who agreed that we see them opened; kept by nobody on the way."""
    try:
        [message_id] = tokens.read(tokens.OPEN, token)
        tracking.record_open(message_id, request)
    except (tokens.ForgedToken, ValueError, Message.DoesNotExist):
        return HttpResponse(status=404)
    response = HttpResponse(_POINT, content_type="image/gif")
    response["Cache-Control"] = "no-store"
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
