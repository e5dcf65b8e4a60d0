from django.conf import settings
from django.db import migrations, models

# What was scheduled or launched before occurrences had rows of their own.
_OCCURRENCES = """
INSERT INTO campaigns_occurrence
    (campaign_id, number, local_date, local_time, launch_at, state, reason, launched_at, messages)
SELECT campaign.id, 0, local.at::date, local.at::time, campaign.send_at,
       CASE WHEN campaign.planned_at IS NULL THEN 'pending' ELSE 'launched' END, '', campaign.planned_at,
       (SELECT count(*) FROM campaigns_message
        WHERE campaign_id = campaign.id AND status <> 'suppressed')
FROM campaigns_campaign AS campaign
JOIN campaigns_brand AS brand ON brand.id = campaign.brand_id
CROSS JOIN LATERAL (SELECT campaign.send_at AT TIME ZONE brand.timezone AS at) AS local
WHERE campaign.send_at IS NOT NULL
  AND (campaign.planned_at IS NOT NULL OR campaign.status IN ('approval', 'scheduled'))
ON CONFLICT DO NOTHING
"""

_DAYS = """
INSERT INTO campaigns_campaignday (campaign_id, occurrence, channel, day, planned)
SELECT campaign_id, occurrence, channel, (due_at AT TIME ZONE %s)::date, count(*)
FROM campaigns_message WHERE status <> 'suppressed' GROUP BY 1, 2, 3, 4
ON CONFLICT DO NOTHING
"""


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0007_message_unpriced")]
    operations = [
        migrations.AddField(
            "daypressure",
            "reachable",
            models.PositiveIntegerField(default=0, help_text="Whom any channel may reach at all."),
            preserve_default=False,
        ),
        migrations.AlterField(
            "daypressure",
            "over_cap",
            models.PositiveIntegerField(
                help_text="Whose first message beyond the weekly cap falls on this day; "
                "weeks begin on Monday."
            ),
        ),
        migrations.AlterField(
            "occurrence",
            "messages",
            models.PositiveIntegerField(
                db_default=0, default=0, help_text="Planned to be sent; expected while pending."
            ),
        ),
        migrations.RunSQL(_OCCURRENCES, migrations.RunSQL.noop),
        migrations.RunSQL([(_DAYS, [settings.TIME_ZONE])], migrations.RunSQL.noop),
    ]
