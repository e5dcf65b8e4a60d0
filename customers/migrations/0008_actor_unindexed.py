import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# The foreign key's, which no query asks for.
INDEX = "customers_consentevent_actor_id_a1017e14"


class Migration(migrations.Migration):
    """Alone in its file: CONCURRENTLY cannot run inside a transaction."""

    atomic = False
    dependencies = [("customers", "0007_pace_of_imports")]
    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name="consentevent",
                    name="actor",
                    field=models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            database_operations=[
                migrations.RunSQL(
                    f'DROP INDEX CONCURRENTLY IF EXISTS "{INDEX}"',
                    f'CREATE INDEX CONCURRENTLY IF NOT EXISTS "{INDEX}" ON customers_consentevent (actor_id)',
                ),
            ],
        ),
    ]
