"""Where providers report. No sign-in and no cookie: a signature proves who speaks, checked over raw bytes.

A report is stored and answered with 200 before anything is made of it. What is forged, altered or too old
gets an error and leaves no trace but a line in the log.
"""

import structlog
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST

from core.policy import public

from . import inbox
from .channels import esp as providers
from .channels import twilio

log = structlog.get_logger(__name__)


@public
@csrf_exempt
@require_http_methods(["HEAD", "POST"])
def email_reports(request: HttpRequest, esp: str) -> HttpResponse:
    """What an e-mail service provider says of our mails; HEAD is how some try the address."""
    if esp not in settings.EMAIL_REPORTS_FROM or esp not in providers.webhooks():
        raise Http404
    if request.method == "HEAD":
        return HttpResponse()
    try:
        inbox.receive(providers.notices_of(esp, request))
    except providers.NoCredentials:
        return HttpResponse(status=401, headers={"WWW-Authenticate": 'Basic realm="reports"'})
    except providers.Forged as error:
        log.warning("report_refused", provider=esp, why=str(error))
        return HttpResponse(status=403)
    except providers.Unreadable as error:
        inbox.bury(provider=esp, channel="email", body=request.body, error=error)
    return HttpResponse()


@public
@csrf_exempt
@require_POST
def twilio_status(request: HttpRequest, message_id: int) -> HttpResponse:
    """What Twilio says of one text; which one stands in the address, and the signature covers it."""
    fields = dict(request.POST.lists())
    signature = request.headers.get("X-Twilio-Signature", "")
    if not twilio.is_genuine(request.get_full_path(), fields, signature):
        log.warning("report_refused", provider=twilio.NAME, why="The signature does not fit.")
        return HttpResponse(status=403)
    inbox.receive(twilio.status_notices(message_id, request.POST.dict()))
    return HttpResponse()
