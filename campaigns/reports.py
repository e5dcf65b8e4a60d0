"""What providers tell us later: delivered or bounced. One way in for every provider."""

from typing import Any

from django.db import connection, transaction

from customers import events
from customers.models import Suppression
from customers.services import suppress_address

from .channels import sms
from .models import Message

# A status never goes backwards: delivered and bounced are final, whatever arrives after. The report may
# reach a message by our own id too, when the provider's reference was lost with its answer.
_SETTLE = """
WITH report AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(refs)s::text[], %(statuses)s::text[]) AS report(id, ref, status)
),
settled AS (
    UPDATE campaigns_message AS message SET
        status = report.status, provider_ref = report.ref, settled_at = now(),
        sent_at = COALESCE(message.sent_at, message.sending_at),
        reason = CASE report.status WHEN 'bounced' THEN 'bad_address' ELSE '' END,
        owner = NULL, lease_until = NULL
    FROM report
    WHERE message.id = report.id AND message.status IN ('sending', 'sent', 'unknown')
    RETURNING message.*
),
told AS (
    INSERT INTO customers_event
        (customer_id, name, channel, source, key, occurred_at, order_ref, properties)
    SELECT settled.customer_id, CASE settled.status WHEN 'delivered' THEN %(delivered)s ELSE %(bounced)s END,
           settled.channel, 'campaigns', settled.id || ':' || settled.status, now(), '',
           jsonb_build_object('campaign', campaign.id, 'campaign_name', campaign.name,
                              'message', settled.id)
    FROM settled JOIN campaigns_campaign AS campaign ON campaign.id = settled.campaign_id
    ON CONFLICT (source, key) DO NOTHING
)
SELECT channel, address, status FROM settled
"""


@transaction.atomic
def receive(reports: list[tuple[int, str, str]]) -> int:
    """Apply delivery reports: (message id, provider's reference, delivered or bounced).

    Repeats and late arrivals change nothing. A bounced address is suppressed. Returns how many messages
    changed.
    """
    wanted = {message_id for message_id, _, _ in reports}
    list(Message.objects.filter(pk__in=wanted).order_by("pk").select_for_update().values_list("pk"))
    params: dict[str, Any] = {
        "ids": [message_id for message_id, _, _ in reports],
        "refs": [ref for _, ref, _ in reports],
        "statuses": [status for _, _, status in reports],
        "delivered": events.MESSAGE_DELIVERED,
        "bounced": events.MESSAGE_BOUNCED,
    }
    with connection.cursor() as cursor:
        cursor.execute(_SETTLE, params)
        settled = cursor.fetchall()
    for channel, address, status in settled:
        if status == Message.Status.BOUNCED:
            suppress_address(channel=channel, address=address, reason=Suppression.Reason.BOUNCED)
    return len(settled)


def collect_sandbox_reports() -> int:
    """Hand the sandbox's due reports to `receive`, as its webhook would; returns how many there were."""
    due = sms.due_reports()
    if due:
        receive(due)
        sms.reports_taken([ref for _, ref, _ in due])
    return len(due)
