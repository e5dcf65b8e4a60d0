"""django-mailer: `send_mail`, one process as its lock has it."""

from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.management import call_command
from django.db import connection
from django.template import Context, Template
from mailer.models import Message, MessageLog

from .people import people


def queue(template: dict[str, str], count: int) -> None:
    """Queue rendered mails, and keep a copy of the queue: sending empties it."""
    call_command("migrate", verbosity=0)
    subject, text, html = (Template(template[part]) for part in ("subject", "text", "html"))
    mails = []
    for address, values in people(count):
        context = Context(values)
        mail = EmailMultiAlternatives(
            subject.render(context), text.render(context), template["sender"], [address]
        )
        mail.attach_alternative(html.render(context), "text/html")
        mails.append(mail)
    get_connection().send_messages(mails)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE waiting AS TABLE mailer_message")


def refill() -> None:
    """Everything waits again."""
    MessageLog.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE mailer_message")
        cursor.execute("INSERT INTO mailer_message SELECT * FROM waiting")


def send() -> dict[str, int]:
    """Send what is queued."""
    call_command("send_mail")
    return {"sent": MessageLog.objects.count(), "waiting": Message.objects.count()}
