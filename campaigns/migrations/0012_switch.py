import django.db.models.deletion
import django.db.models.functions.datetime
import django.utils.timezone
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models

from campaigns.switch import DROP_FUNCTIONS, FUNCTIONS

# A house that runs already goes on sending; a new one is asked after (campaigns.switch.settle_in).
FIRST = """
INSERT INTO campaigns_switch (name, is_on, place, by)
VALUES ('sends', true, place_of_database(), 'manage.py migrate')
"""


class Migration(migrations.Migration):
    """Whether messages may leave, and what is done to them by hand."""

    dependencies = [
        ("campaigns", "0011_tally"),
        ("pghistory", "0007_auto_20250421_0444"),
    ]

    operations = [
        migrations.CreateModel(
            name="Repair",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("park", "Set aside"),
                            ("replay", "Sent again"),
                            ("reset", "Breaker closed"),
                        ],
                        max_length=10,
                        verbose_name="kind",
                    ),
                ),
                (
                    "selection",
                    models.JSONField(
                        default=dict,
                        help_text="What was asked for, as on the command line.",
                        verbose_name="selection",
                    ),
                ),
                (
                    "messages",
                    models.PositiveIntegerField(
                        default=0, help_text="How many it was done to.", verbose_name="messages"
                    ),
                ),
                (
                    "reason",
                    models.CharField(blank=True, db_default="", max_length=300, verbose_name="reason"),
                ),
                ("by", models.CharField(max_length=150, verbose_name="done by")),
                (
                    "at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        default=django.utils.timezone.now,
                    ),
                ),
            ],
            options={
                "verbose_name": "repair",
                "verbose_name_plural": "repairs",
            },
        ),
        migrations.CreateModel(
            name="RepairHistory",
            fields=[
                ("pgh_id", models.AutoField(primary_key=True, serialize=False)),
                ("pgh_created_at", models.DateTimeField(auto_now_add=True)),
                ("pgh_label", models.TextField(help_text="The event label.")),
                ("id", models.BigIntegerField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("park", "Set aside"),
                            ("replay", "Sent again"),
                            ("reset", "Breaker closed"),
                        ],
                        max_length=10,
                        verbose_name="kind",
                    ),
                ),
                (
                    "selection",
                    models.JSONField(
                        default=dict,
                        help_text="What was asked for, as on the command line.",
                        verbose_name="selection",
                    ),
                ),
                (
                    "messages",
                    models.PositiveIntegerField(
                        default=0, help_text="How many it was done to.", verbose_name="messages"
                    ),
                ),
                (
                    "reason",
                    models.CharField(blank=True, db_default="", max_length=300, verbose_name="reason"),
                ),
                ("by", models.CharField(max_length=150, verbose_name="done by")),
                (
                    "at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        default=django.utils.timezone.now,
                    ),
                ),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="Switch",
            fields=[
                ("name", models.CharField(max_length=30, primary_key=True, serialize=False)),
                ("is_on", models.BooleanField(db_default=True, default=True, verbose_name="on")),
                (
                    "place",
                    models.CharField(
                        blank=True,
                        db_default="",
                        help_text="The database it was turned on in.",
                        max_length=80,
                    ),
                ),
                (
                    "reason",
                    models.CharField(blank=True, db_default="", max_length=300, verbose_name="reason"),
                ),
                ("by", models.CharField(blank=True, db_default="", max_length=150, verbose_name="set by")),
                (
                    "changed_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        default=django.utils.timezone.now,
                    ),
                ),
            ],
            options={
                "verbose_name": "switch",
                "verbose_name_plural": "switches",
            },
        ),
        migrations.CreateModel(
            name="SwitchHistory",
            fields=[
                ("pgh_id", models.AutoField(primary_key=True, serialize=False)),
                ("pgh_created_at", models.DateTimeField(auto_now_add=True)),
                ("pgh_label", models.TextField(help_text="The event label.")),
                ("name", models.CharField(max_length=30, serialize=False)),
                ("is_on", models.BooleanField(db_default=True, default=True, verbose_name="on")),
                (
                    "reason",
                    models.CharField(blank=True, db_default="", max_length=300, verbose_name="reason"),
                ),
                ("by", models.CharField(blank=True, db_default="", max_length=150, verbose_name="set by")),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.AlterField(
            model_name="message",
            name="reason",
            field=models.CharField(
                blank=True,
                choices=[
                    ("expired", "The campaign had expired"),
                    ("no_consent", "No consent for this channel"),
                    ("revoked", "Consent was withdrawn"),
                    ("suppressed", "The address is blocked"),
                    ("no_address", "No address for this channel"),
                    ("cancelled", "The campaign was cancelled"),
                    ("quiet_hours", "Waits for the end of quiet hours"),
                    ("refused", "The receiver's server refused it"),
                    ("bad_address", "The address does not exist"),
                    ("mailbox_full", "The mailbox could not take it"),
                    ("spam", "The receiver's server took it for spam"),
                    ("try_later", "The receiver's server asks to try later"),
                    ("provider_error", "The provider answered with an error"),
                    ("rendering", "The text could not be written for this person"),
                    ("no_answer", "The provider's answer never arrived"),
                    ("poison", "It stopped the program that was sending it, three times"),
                    ("parked", "Set aside by an operator"),
                ],
                db_default="",
                max_length=20,
            ),
        ),
        migrations.AddConstraint(
            model_name="repair",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["park", "replay", "reset"])), name="repair_kind_known"
            ),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="repair",
            trigger=pgtrigger.compiler.Trigger(
                name="append_only",
                sql=pgtrigger.compiler.UpsertTriggerSql(
                    func="RAISE EXCEPTION 'pgtrigger: Cannot update or delete rows from % table', TG_TABLE_NAME;",
                    hash="7a9b3133e7080477ae2af4f080e5d61acdda3aea",
                    operation="UPDATE OR DELETE",
                    pgid="pgtrigger_append_only_0bf7f",
                    table="campaigns_repair",
                    when="BEFORE",
                ),
            ),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="repair",
            trigger=pgtrigger.compiler.Trigger(
                name="insert_insert",
                sql=pgtrigger.compiler.UpsertTriggerSql(
                    func='INSERT INTO "campaigns_repairhistory" ("at", "by", "id", "kind", "messages", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "reason", "selection") VALUES (NEW."at", NEW."by", NEW."id", NEW."kind", NEW."messages", _pgh_attach_context(), NOW(), \'insert\', NEW."id", NEW."reason", NEW."selection"); RETURN NULL;',
                    hash="2baac6d86bddb22ace433dfe658b848ab1a7ef11",
                    operation="INSERT",
                    pgid="pgtrigger_insert_insert_03e85",
                    table="campaigns_repair",
                    when="AFTER",
                ),
            ),
        ),
        migrations.AddField(
            model_name="repairhistory",
            name="pgh_context",
            field=models.ForeignKey(
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="pghistory.context",
            ),
        ),
        migrations.AddField(
            model_name="repairhistory",
            name="pgh_obj",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="history",
                to="campaigns.repair",
            ),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="switch",
            trigger=pgtrigger.compiler.Trigger(
                name="insert_insert",
                sql=pgtrigger.compiler.UpsertTriggerSql(
                    func='INSERT INTO "campaigns_switchhistory" ("by", "is_on", "name", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "reason") VALUES (NEW."by", NEW."is_on", NEW."name", _pgh_attach_context(), NOW(), \'insert\', NEW."name", NEW."reason"); RETURN NULL;',
                    hash="76897889f7498a0c910db9df6edcd6e29e6b4b0a",
                    operation="INSERT",
                    pgid="pgtrigger_insert_insert_71a5d",
                    table="campaigns_switch",
                    when="AFTER",
                ),
            ),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="switch",
            trigger=pgtrigger.compiler.Trigger(
                name="update_update",
                sql=pgtrigger.compiler.UpsertTriggerSql(
                    condition='WHEN (OLD."by" IS DISTINCT FROM (NEW."by") OR OLD."is_on" IS DISTINCT FROM (NEW."is_on") OR OLD."name" IS DISTINCT FROM (NEW."name") OR OLD."reason" IS DISTINCT FROM (NEW."reason"))',
                    func='INSERT INTO "campaigns_switchhistory" ("by", "is_on", "name", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "reason") VALUES (NEW."by", NEW."is_on", NEW."name", _pgh_attach_context(), NOW(), \'update\', NEW."name", NEW."reason"); RETURN NULL;',
                    hash="37b43d6993f0c7ebd21ef6a67fb0d46620287e59",
                    operation="UPDATE",
                    pgid="pgtrigger_update_update_5569c",
                    table="campaigns_switch",
                    when="AFTER",
                ),
            ),
        ),
        migrations.AddField(
            model_name="switchhistory",
            name="pgh_context",
            field=models.ForeignKey(
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="pghistory.context",
            ),
        ),
        migrations.AddField(
            model_name="switchhistory",
            name="pgh_obj",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="history",
                to="campaigns.switch",
            ),
        ),
        migrations.RunSQL(FUNCTIONS, DROP_FUNCTIONS),
        migrations.RunSQL(FIRST, migrations.RunSQL.noop),
    ]
