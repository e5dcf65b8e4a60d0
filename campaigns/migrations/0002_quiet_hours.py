from django.db import migrations

from campaigns.gates import OUTSIDE_QUIET_HOURS


class Migration(migrations.Migration):
    """The function with which planning and the fence tell quiet hours."""

    dependencies = [("campaigns", "0001_initial")]
    operations = [
        migrations.RunSQL(
            OUTSIDE_QUIET_HOURS, "DROP FUNCTION outside_quiet_hours(timestamptz, text, time, time)"
        )
    ]
