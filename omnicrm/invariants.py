"""What must always hold, as SQL that finds nobody: one statement per promise, named as in the promise.

Each selects one column, `subject`: the row that breaks it. Most are kept by constraints as well; asking
again costs little, and tells a restored or hand-edited database from a sound one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from django.conf import settings
from django.db import connection

from customers.addresses import address_hash_params, address_hash_sql

from .database_roles import TIMEOUTS, append_only_tables


@dataclass(frozen=True)
class Invariant:
    """A promise and the SQL that finds what breaks it."""

    code: str
    promise: str
    sql: str


@dataclass(frozen=True)
class Finding:
    """How often an invariant is broken, with a few of the rows."""

    invariant: Invariant
    count: int
    examples: list[str] = field(default_factory=list)


INVARIANTS = (
    Invariant(
        "S1",
        "A person gets a campaign once per channel, step and occurrence",
        """
        SELECT 'campaign ' || campaign_id || ', customer ' || customer_id AS subject
        FROM campaigns_message GROUP BY campaign_id, customer_id, channel, step, occurrence
        HAVING count(*) > 1
        """,
    ),
    Invariant(
        "S2",
        "An address gets a campaign once, whoever shares it",
        """
        SELECT 'campaign ' || campaign_id || ', messages ' || string_agg(id::text, ' ') AS subject
        FROM campaigns_message WHERE status <> 'suppressed'
        GROUP BY campaign_id, channel, address, step, occurrence HAVING count(*) > 1
        """,
    ),
    Invariant(
        "S3",
        "Nothing is sent without a consent given before and not withdrawn",
        """
        SELECT 'message ' || message.id AS subject
        FROM campaigns_message AS message
        LEFT JOIN LATERAL (
            SELECT state FROM customers_consentevent AS said
            WHERE said.customer_id = message.customer_id AND said.channel = message.channel
              AND said.purpose = 'marketing' AND said.effective_at <= message.sending_at
            ORDER BY said.effective_at DESC, said.id DESC LIMIT 1
        ) AS last ON true
        WHERE message.sending_at IS NOT NULL AND last.state IS DISTINCT FROM 'granted'
        """,
    ),
    Invariant(
        "S4",
        "Nothing is sent to an address that was blocked before",
        f"""
        SELECT 'message ' || message.id AS subject
        FROM campaigns_message AS message
        JOIN customers_suppression AS blocked
            ON blocked.channel = message.channel
            AND blocked.address_hash = {address_hash_sql("message.address")}
        WHERE message.sending_at > blocked.created_at
        """,  # noqa: S608 - the column is ours
    ),
    Invariant(
        "S5",
        "Nothing is sent in quiet hours where the person lives",
        # Judged by the hours and zones of then: what was changed since is left out. A minute's grace for
        # what was fenced as the hours began.
        """
        SELECT 'message ' || message.id AS subject
        FROM campaigns_message AS message
        JOIN campaigns_campaign AS campaign ON campaign.id = message.campaign_id
        JOIN campaigns_brand AS brand ON brand.id = campaign.brand_id
        JOIN customers_customer AS customer ON customer.id = message.customer_id
        CROSS JOIN LATERAL (SELECT message.sending_at - interval '1 minute' AS at) AS moment
        WHERE message.sending_at IS NOT NULL AND campaign.respect_quiet_hours
          AND outside_quiet_hours(moment.at, COALESCE(NULLIF(customer.timezone, ''), brand.timezone),
                                  brand.quiet_from, brand.quiet_until) > message.sending_at
          AND NOT EXISTS (SELECT 1 FROM campaigns_brandhistory AS past WHERE past.pgh_obj_id = brand.id
                          AND past.pgh_label = 'update' AND past.pgh_created_at > message.sending_at)
          AND NOT EXISTS (SELECT 1 FROM customers_customerhistory AS past WHERE past.pgh_obj_id = customer.id
                          AND past.timezone <> customer.timezone AND past.pgh_created_at > message.sending_at)
        """,
    ),
    Invariant(
        "S7",
        "No message is held beyond two leases, none stays unknown for a day",
        """
        SELECT 'message ' || id AS subject FROM campaigns_message
        WHERE status IN ('leased', 'sending')
              AND lease_until < clock_timestamp() - make_interval(secs => %(lease)s)
           OR status = 'unknown' AND settled_at < now() - interval '24 hours'
        """,
    ),
    Invariant(
        "S8",
        "A campaign's audience is sent + bounced + failed + held back + unknown + waiting, and nothing waits "
        "in one that is over",
        """
        SELECT 'message ' || message.id AS subject
        FROM campaigns_message AS message
        JOIN campaigns_campaign AS campaign ON campaign.id = message.campaign_id
        WHERE message.status NOT IN ('planned', 'leased', 'sending', 'sent', 'delivered', 'bounced', 'failed',
                                     'suppressed', 'unknown')
           OR campaign.status IN ('draft', 'approval', 'scheduled', 'sent')
              AND message.status IN ('planned', 'leased', 'sending')
        """,
    ),
    Invariant(
        "S10",
        "What is scheduled has its next occurrence, what is over has none, and messages belong to one that "
        "was launched",
        """
        SELECT 'campaign ' || campaign.id AS subject
        FROM campaigns_campaign AS campaign
        LEFT JOIN campaigns_occurrence AS pending
            ON pending.campaign_id = campaign.id AND pending.state = 'pending'
        WHERE campaign.status IN ('approval', 'scheduled') AND pending.id IS NULL
           OR campaign.status IN ('draft', 'sent', 'cancelled') AND pending.id IS NOT NULL
        UNION ALL
        SELECT DISTINCT 'campaign ' || message.campaign_id || ', occurrence ' || message.occurrence
        FROM campaigns_message AS message
        LEFT JOIN campaigns_occurrence AS launched
            ON launched.campaign_id = message.campaign_id AND launched.number = message.occurrence
            AND launched.state = 'launched'
        WHERE launched.id IS NULL
        """,
    ),
    Invariant(
        "S11",
        "Nothing is sent later than it may be",
        # A minute's grace for what was fenced as it expired.
        """
        SELECT 'message ' || id AS subject FROM campaigns_message
        WHERE sending_at > expires_at + interval '1 minute'
        """,
    ),
    Invariant(
        "C1",
        "What a person agreed to is the last thing they said",
        """
        SELECT 'customer ' || customer_id || ', ' || channel || ' ' || purpose AS subject
        FROM (SELECT DISTINCT ON (customer_id, channel, purpose) customer_id, channel, purpose, state
              FROM customers_consentevent
              ORDER BY customer_id, channel, purpose, effective_at DESC, id DESC) AS said
        FULL JOIN customers_consent AS kept USING (customer_id, channel, purpose)
        WHERE said.state IS DISTINCT FROM kept.state
        """,
    ),
    Invariant(
        "C2",
        "What was said about consent, what happened and who changed what cannot be changed",
        # By the guard, and, where the database's roles are in use, by any of theirs but the owner's.
        """
        SELECT 'the guard of customers_consentevent' AS subject
        WHERE NOT EXISTS (SELECT 1 FROM pg_trigger
                          WHERE tgrelid = 'customers_consentevent'::regclass
                            AND tgname LIKE 'pgtrigger_append_only%%' AND tgenabled <> 'D')
        UNION ALL
        SELECT rolname || ' may change ' || name
        FROM unnest(%(append_only)s::text[]) AS name
        JOIN pg_roles ON rolname = ANY(%(roles)s)
        WHERE has_table_privilege(rolname, name, 'UPDATE') OR has_table_privilege(rolname, name, 'DELETE')
           OR has_table_privilege(rolname, name, 'TRUNCATE')
        """,
    ),
    Invariant(
        "C3",
        "Every consent given has a source, a time and a proof: evidence, or who wrote it down",
        """
        SELECT 'consent ' || id AS subject FROM customers_consentevent
        WHERE state = 'granted' AND (source = '' OR (evidence = '' AND actor_id IS NULL))
        """,
    ),
    Invariant(
        "E2",
        "Whatever arrived, came back or was bought stands in the event log",
        """
        SELECT 'message ' || message.id AS subject FROM campaigns_message AS message
        WHERE message.status IN ('sent', 'delivered', 'bounced') AND NOT EXISTS (
            SELECT 1 FROM customers_event
            WHERE source = 'campaigns' AND key = message.id || ':' || message.status)
        UNION ALL
        SELECT 'order ' || source || ' ' || number FROM orders_order AS purchase
        WHERE NOT EXISTS (SELECT 1 FROM customers_event AS event
                          WHERE event.source = 'orders:' || purchase.source AND event.key = purchase.number)
        """,
    ),
    Invariant(
        "E3",
        "What a provider told us counts once, and within a quarter of an hour of its turn",
        """
        SELECT 'reports ' || string_agg(id::text, ' ') AS subject FROM campaigns_providerreport
        GROUP BY provider, event_id HAVING count(*) > 1
        UNION ALL
        SELECT 'report ' || id FROM campaigns_providerreport
        WHERE processed_at IS NULL AND dead_at IS NULL AND due_at < now() - interval '15 minutes'
        """,
    ),
    Invariant(
        "E4",
        "What arrived stays so unless it comes back, and what came back never arrives",
        """
        SELECT 'message ' || message.id AS subject FROM campaigns_message AS message
        JOIN customers_event AS event ON event.source = 'campaigns'
            AND event.key IN (message.id || ':delivered', message.id || ':bounced')
        WHERE message.status <> 'bounced' AND event.key <> message.id || ':' || message.status
        """,
    ),
    Invariant(
        "E5",
        "A report that was given up says why, and what was received",
        """
        SELECT 'report ' || id AS subject FROM campaigns_providerreport
        WHERE dead_at IS NOT NULL AND (problem = '' OR payload_hash = '')
        """,
    ),
    Invariant(
        "E6",
        "Every event is about somebody, and the store it names is there",
        """
        SELECT 'event ' || event.id AS subject
        FROM customers_event AS event
        LEFT JOIN customers_customer AS customer ON customer.id = event.customer_id
        LEFT JOIN inventory_store AS store ON store.id = event.store_id
        WHERE customer.id IS NULL OR (event.store_id IS NOT NULL AND store.id IS NULL)
        """,
    ),
    Invariant(
        "R1",
        "An order is credited to a message that went before it, within the goal's days, to the same person",
        """
        SELECT 'conversion ' || credited.id AS subject
        FROM campaigns_conversion AS credited
        JOIN campaigns_message AS message ON message.id = credited.message_id
        JOIN campaigns_campaign AS campaign ON campaign.id = message.campaign_id
        JOIN customers_event AS event ON event.id = credited.event_id
        WHERE message.campaign_id <> credited.campaign_id OR message.customer_id <> event.customer_id
           OR message.sent_at IS NULL OR message.sent_at > event.occurred_at
           OR message.sent_at <= event.occurred_at - make_interval(days => campaign.goal_days)
        """,
    ),
    Invariant(
        "R2",
        "A click leads through a link of its own campaign, after the message left",
        """
        SELECT 'click ' || click.id AS subject
        FROM campaigns_click AS click
        JOIN campaigns_message AS message ON message.id = click.message_id
        JOIN campaigns_link AS link ON link.id = click.link_id
        WHERE link.campaign_id <> message.campaign_id OR click.clicked_at < message.sending_at
        """,
    ),
    Invariant(
        "G1",
        "A person is in a segment once at a time: one spell ends before the next begins",
        """
        SELECT 'segment ' || segment_id || ', customer ' || customer_id AS subject
        FROM (SELECT segment_id, customer_id, entered_at,
                     lag(COALESCE(left_at, 'infinity')) OVER (
                         PARTITION BY segment_id, customer_id ORDER BY entered_at, id) AS before
              FROM segments_membership) AS spell
        WHERE before > entered_at
        """,
    ),
    Invariant(
        "G2",
        "The count kept of a segment is the number of its members",
        """
        SELECT 'segment ' || segment.id AS subject FROM segments_segment AS segment
        WHERE segment.counted_at IS NOT NULL AND segment.match_count <> (
            SELECT count(*) FROM segments_membership
            WHERE segment_id = segment.id AND left_at IS NULL)
        """,
    ),
    Invariant(
        "G3",
        "Whoever was put into a segment by hand is in it, and whoever was taken out is not",
        # Those somebody else's change concerns as well may still have to be asked about.
        """
        SELECT 'segment ' || decided.segment_id || ', customer ' || decided.customer_id AS subject
        FROM segments_override AS decided
        JOIN segments_segment AS segment ON segment.id = decided.segment_id
        JOIN customers_customer AS customer ON customer.id = decided.customer_id
        LEFT JOIN segments_membership AS spell ON spell.segment_id = decided.segment_id
            AND spell.customer_id = decided.customer_id AND spell.left_at IS NULL
        WHERE segment.archived_at IS NULL AND segment.counted_at > decided.at
          AND customer.status IN ('anonymous', 'known')
          AND (decided.kind = 'include') <> (spell.id IS NOT NULL)
          AND NOT EXISTS (SELECT 1 FROM segments_touch WHERE customer_id = decided.customer_id)
        """,
    ),
    Invariant(
        "G4",
        "Members are customers and segments that exist",
        """
        SELECT 'membership ' || spell.id AS subject FROM segments_membership AS spell
        LEFT JOIN customers_customer AS customer ON customer.id = spell.customer_id
        LEFT JOIN segments_segment AS segment ON segment.id = spell.segment_id
        WHERE customer.id IS NULL OR segment.id IS NULL
        """,
    ),
    Invariant(
        "I1",
        "An import accounts for every row, each refused one with its reason",
        """
        SELECT 'import ' || job.id AS subject FROM customers_importjob AS job
        WHERE job.status = 'done' AND (
            job.rows <> job.created + job.updated + job.unchanged + job.rejected
            OR job.rejected <> (SELECT count(*) FROM customers_importrejection
                                WHERE job_id = job.id AND reason <> ''))
        """,
    ),
)


def check_invariants() -> Iterator[Finding]:
    """Ask every invariant; each comes with how many rows break it and up to five of them."""
    params = address_hash_params() | {
        "lease": settings.MESSAGE_LEASE_SECONDS,
        "append_only": append_only_tables(),
        "roles": list(TIMEOUTS),
    }
    for invariant in INVARIANTS:
        asked = f"SELECT count(*), (array_agg(subject))[1:5] FROM ({invariant.sql}) AS broken"  # noqa: S608
        with connection.cursor() as cursor:
            cursor.execute(asked, params)
            count, examples = cursor.fetchone()
        yield Finding(invariant, count, examples or [])
