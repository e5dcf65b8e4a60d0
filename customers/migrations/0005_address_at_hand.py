import django.db.models.deletion
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

# The foreign key's. AlterField would check the whole table.
OLD = "customers_identifier_customer_id_b95edd20"


class Migration(migrations.Migration):
    """Alone in its file: CONCURRENTLY cannot run inside a transaction. The old index goes when the new is there."""

    atomic = False
    dependencies = [("customers", "0004_names_in_plain_words")]
    operations = [
        AddIndexConcurrently(
            model_name="identifier",
            index=models.Index(
                models.F("customer"),
                models.F("kind"),
                models.OrderBy(models.F("verified_at"), descending=True, nulls_last=True),
                models.F("id"),
                include=("value", "created_at"),
                name="identifier_of_customer",
            ),
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name="identifier",
                    name="customer",
                    field=models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="identifiers",
                        to="customers.customer",
                    ),
                ),
            ],
            database_operations=[
                migrations.RunSQL(
                    f'DROP INDEX CONCURRENTLY IF EXISTS "{OLD}"',
                    f'CREATE INDEX CONCURRENTLY "{OLD}" ON customers_identifier (customer_id)',
                ),
            ],
        ),
    ]
