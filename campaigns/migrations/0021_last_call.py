from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0020_logbook"),
    ]

    operations = [
        migrations.AddField(
            model_name="message",
            name="called_at",
            field=models.DateTimeField(
                help_text="When its lease had ended while it was sent, and its worker got a last call.",
                null=True,
            ),
        ),
    ]
