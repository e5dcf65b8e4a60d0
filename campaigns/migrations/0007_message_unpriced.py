from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """Alone in its file: CONCURRENTLY cannot run inside a transaction."""

    atomic = False

    dependencies = [
        ("campaigns", "0006_provider_reports"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="message",
            index=models.Index(
                condition=models.Q(("cost_micros", None), ("provider", "twilio"), ("sent_at__isnull", False)),
                fields=["sent_at"],
                name="message_unpriced",
            ),
        ),
    ]
