from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """Alone in its file: CONCURRENTLY cannot run inside a transaction."""

    atomic = False
    dependencies = [("campaigns", "0016_tracking")]
    operations = [
        AddIndexConcurrently(
            "click",
            models.Index(fields=["clicked_at"], name="click_unsettled", condition=models.Q(settled_at=None)),
        ),
    ]
