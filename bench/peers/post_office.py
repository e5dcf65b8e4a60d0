"""django-post-office: `send_queued_mail --processes 2`, each with its five threads."""

import os
import tempfile

from django.core.management import call_command
from post_office import mail
from post_office.models import STATUS, Email, EmailTemplate, Log

from .people import people


def queue(template: dict[str, str], count: int) -> None:
    """Queue by its own template: rendered here, so that nothing is left to render while it sends, or then."""
    call_command("migrate", verbosity=0)
    form = EmailTemplate.objects.create(
        name="mail", subject=template["subject"], content=template["text"], html_content=template["html"]
    )
    mail.send_many(
        [
            {
                "recipients": address,
                "sender": template["sender"],
                "template": form,
                "context": values,
                "render_on_delivery": bool(os.environ.get("PEER_WRITES_LATE")),
            }
            for address, values in people(count)
        ]
    )


def refill() -> None:
    """Everything waits again."""
    Log.objects.all().delete()
    Email.objects.update(status=STATUS.queued)


def send() -> dict[str, int]:
    """Send what is queued."""
    with tempfile.TemporaryDirectory() as folder:
        call_command("send_queued_mail", processes=2, lockfile=f"{folder}/lock")
    sent = Email.objects.filter(status=STATUS.sent).count()
    return {"sent": sent, "waiting": Email.objects.exclude(status=STATUS.sent).count()}
