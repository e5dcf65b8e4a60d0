from django.db import migrations

from segments.touches import install_sql, uninstall_sql


class Migration(migrations.Migration):
    """The triggers that note whom to look at again."""

    dependencies = [("segments", "0004_membership")]
    operations = [migrations.RunSQL(install_sql(), uninstall_sql())]
