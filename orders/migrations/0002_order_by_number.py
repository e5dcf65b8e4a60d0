from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """Alone in its file: CONCURRENTLY cannot run inside a transaction."""

    atomic = False
    dependencies = [("orders", "0001_initial")]
    operations = [
        AddIndexConcurrently("order", models.Index(fields=["number"], name="order_by_number")),
    ]
