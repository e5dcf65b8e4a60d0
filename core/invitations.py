"""The letter that brings somebody in."""

from smtplib import SMTPException

import structlog
from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext as _

from .models import User
from .services import sign_in_link

log = structlog.get_logger(__name__)


def mail_sign_in_link(colleague: User) -> bool:
    """Write to somebody how to choose a password; whether the mail server took it.

    Talks to the network: call it after the transaction.
    """
    with translation.override(colleague.language):
        subject = _("Choose your password for OmniCRM")
        address = settings.PUBLIC_URL.rstrip("/") + sign_in_link(colleague)
        days = settings.PASSWORD_RESET_TIMEOUT // 86_400
        body = render_to_string(
            "core/email/sign_in_link.txt", {"colleague": colleague, "address": address, "days": days}
        )
    try:
        send_mail(subject, body, None, [colleague.email])
    except (SMTPException, OSError) as error:
        log.warning("invitation_not_sent", colleague=colleague.pk, error=type(error).__name__)
        return False
    return True
