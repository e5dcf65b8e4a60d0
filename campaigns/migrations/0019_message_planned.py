from django.contrib.postgres.indexes import BrinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations


class Migration(migrations.Migration):
    """Alone in its file: CONCURRENTLY cannot run inside a transaction."""

    atomic = False
    dependencies = [("campaigns", "0018_reasons")]
    operations = [
        AddIndexConcurrently(
            "message", BrinIndex(fields=["planned_at"], name="message_planned", autosummarize=True)
        ),
    ]
