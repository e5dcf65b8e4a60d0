import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0019_message_planned")]
    operations = [
        migrations.CreateModel(
            name="Logbook",
            fields=[
                ("owner", models.UUIDField(primary_key=True, serialize=False)),
                ("provider", models.CharField(max_length=30)),
                (
                    "sent",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), help_text="Messages.", size=None
                    ),
                ),
                (
                    "refs",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=100),
                        help_text="The provider's references, if any.",
                        size=None,
                    ),
                ),
            ],
        ),
        migrations.RunSQL(
            "ALTER TABLE campaigns_logbook SET UNLOGGED", "ALTER TABLE campaigns_logbook SET LOGGED"
        ),
    ]
