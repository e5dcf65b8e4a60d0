from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """Alone in its file: CONCURRENTLY cannot run inside a transaction."""

    atomic = False
    dependencies = [("campaigns", "0009_breaker_probe")]
    operations = [
        AddIndexConcurrently(
            "message",
            models.Index(
                fields=["campaign", "channel", "due_at", "id"],
                name="message_waiting",
                condition=models.Q(status="planned"),
            ),
        ),
        RemoveIndexConcurrently("message", "message_due"),
        RemoveIndexConcurrently("message", "message_open"),
    ]
