import django.db.models.deletion
from django.db import migrations, models

# The foreign key's, which no query asks for.
INDEX = "orders_order_store_id_138e1a80"


class Migration(migrations.Migration):
    """Alone in its file: CONCURRENTLY cannot run inside a transaction."""

    atomic = False
    dependencies = [("orders", "0002_order_by_number")]
    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name="order",
                    name="store",
                    field=models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="orders",
                        to="inventory.store",
                    ),
                ),
            ],
            database_operations=[
                migrations.RunSQL(
                    f'DROP INDEX CONCURRENTLY IF EXISTS "{INDEX}"',
                    f'CREATE INDEX CONCURRENTLY IF NOT EXISTS "{INDEX}" ON orders_order (store_id)',
                ),
            ],
        ),
    ]
