import django.db.models.deletion
from django.db import migrations, models

OF_JOB = "customers_importrejection_job_id_e4532628"  # rejection_by_line begins with the job as well.


class Migration(migrations.Migration):
    """Not atomic: CONCURRENTLY cannot run inside a transaction. Each step may run again."""

    atomic = False
    dependencies = [("customers", "0005_address_at_hand")]
    operations = [
        migrations.AlterField(
            model_name="consent",
            name="customer",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="consents",
                to="customers.customer",
            ),
        ),
        migrations.AlterField(
            model_name="consent",
            name="event",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="customers.consentevent",
            ),
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name="importrejection",
                    name="job",
                    field=models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="rejections",
                        to="customers.importjob",
                    ),
                ),
            ],
            database_operations=[
                migrations.RunSQL(
                    f'DROP INDEX CONCURRENTLY IF EXISTS "{OF_JOB}"',
                    f'CREATE INDEX CONCURRENTLY IF NOT EXISTS "{OF_JOB}" ON customers_importrejection (job_id)',
                ),
            ],
        ),
    ]
