from django.db import migrations

from core.cursor import DROP_FUNCTIONS, FUNCTIONS


class Migration(migrations.Migration):
    """Up to where the event log may be read, also in a cluster it was restored into."""

    dependencies = [("core", "0002_history_of_access")]
    operations = [migrations.RunSQL(FUNCTIONS, DROP_FUNCTIONS)]
