from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """Alone in its file: CONCURRENTLY cannot run inside a transaction."""

    atomic = False
    dependencies = [("campaigns", "0012_switch")]
    operations = [
        AddIndexConcurrently(
            "message",
            models.Index(
                fields=["campaign", "channel", "status", "reason"],
                name="message_troubled",
                condition=models.Q(status__in=["failed", "unknown"]),
            ),
        ),
    ]
