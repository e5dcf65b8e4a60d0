"""What provider reports do, as SQL over a batch of them; campaigns.reports runs these in their order."""

# Uses report_due; SKIP LOCKED lets any number of workers take up reports side by side. Who complained or
# unsubscribed waits until the consent is withdrawn, which happens before.
CLAIM = """
SELECT id FROM campaigns_providerreport
WHERE processed_at IS NULL AND dead_at IS NULL AND due_at <= now()
  AND (kind <> ALL(%(leaving)s) AND reason <> 'revoked' OR id = ANY(%(gone)s))
ORDER BY due_at, id LIMIT %(limit)s
FOR UPDATE SKIP LOCKED
"""

# By the provider's own reference, where the report does not name our message. Uses message_by_ref.
RESOLVE = """
UPDATE campaigns_providerreport AS report SET message = message.id
FROM campaigns_message AS message
WHERE report.id = ANY(%(ids)s) AND report.message IS NULL AND report.ref <> ''
  AND message.provider_ref = report.ref AND message.provider_ref <> ''
  AND message.channel = report.channel AND message.provider IN (report.provider, '')
"""

# In pk order, as every other verb locks messages.
LOCK_MESSAGES = """
SELECT id FROM campaigns_message
WHERE id IN (SELECT message FROM campaigns_providerreport WHERE id = ANY(%(ids)s))
ORDER BY id FOR UPDATE
"""

# A message that never left cannot have arrived: such a report is about somebody else's.
_SAID = """
said AS (
    SELECT report.id AS report_id, report.kind, report.provider, report.ref, report.occurred_at,
           report.reason AS because, report.detail AS words, report.parts, report.cost_micros,
           report.currency, report.properties,
           message.id, message.customer_id, message.channel, message.address, message.campaign_id,
           message.content_id, message.status, message.sent_at
    FROM campaigns_providerreport AS report
    JOIN campaigns_message AS message
        ON message.id = report.message AND message.channel = report.channel AND message.attempts > 0
    WHERE report.id = ANY(%(ids)s) AND report.processed_at IS NULL
)
"""


def _with_said(sql: str) -> str:
    return sql.replace("WITH said", f"WITH {_SAID}")


# The strongest report decides. Whoever is still sending or about to send the message loses it by this, so
# that a mail in doubt that did arrive is not sent again.
SETTLE = _with_said("""
WITH said,
verdict AS (
    SELECT DISTINCT ON (said.id) said.*, weight.status AS becomes, weight.strength
    FROM said
    JOIN (VALUES ('sent', 'sent', 3), ('deferred', 'sent', 3), ('priced', 'sent', 3), ('failed', 'failed', 4),
                 ('delivered', 'delivered', 5), ('opened', 'delivered', 5), ('clicked', 'delivered', 5),
                 ('complained', 'delivered', 5),
                 ('soft_bounced', 'bounced', 6), ('bounced', 'bounced', 7)) AS weight(kind, status, strength)
        ON weight.kind = said.kind
    ORDER BY said.id, weight.strength DESC, said.occurred_at, said.report_id
)
UPDATE campaigns_message AS message SET
    status = verdict.becomes,
    reason = CASE WHEN verdict.becomes IN ('bounced', 'failed') THEN verdict.because ELSE '' END,
    detail = CASE WHEN verdict.becomes IN ('bounced', 'failed') THEN verdict.words ELSE '' END,
    provider = COALESCE(NULLIF(message.provider, ''), verdict.provider),
    provider_ref = COALESCE(NULLIF(message.provider_ref, ''), verdict.ref),
    sent_at = CASE verdict.becomes WHEN 'failed' THEN message.sent_at
              ELSE COALESCE(message.sent_at, message.sending_at, verdict.occurred_at) END,
    settled_at = verdict.occurred_at,
    owner = NULL, lease_until = NULL
FROM verdict
WHERE message.id = verdict.id AND verdict.strength > CASE message.status
    WHEN 'bounced' THEN CASE message.reason WHEN 'bad_address' THEN 7 ELSE 6 END
    WHEN 'delivered' THEN 5 WHEN 'failed' THEN 4 WHEN 'sent' THEN 3 ELSE 0 END
""")

PRICE = _with_said("""
WITH said,
price AS (
    SELECT id, max(parts) AS parts, max(cost_micros) AS cost_micros, max(currency) AS currency
    FROM said WHERE parts IS NOT NULL OR cost_micros IS NOT NULL GROUP BY id
)
UPDATE campaigns_message AS message SET
    parts = COALESCE(price.parts, message.parts),
    cost_micros = COALESCE(price.cost_micros, message.cost_micros),
    currency = COALESCE(NULLIF(price.currency, ''), message.currency)
FROM price WHERE message.id = price.id
""")

# Every fact once, by a key that depends on the fact alone. Openings are told of those who agreed to being
# watched; clicks on our own links are told by our redirect.
TELL = _with_said("""
WITH said,
fact AS (
    SELECT said.*, %(sent)s AS name, 'sent' AS key, COALESCE(sent_at, occurred_at) AS at,
           '{}'::jsonb AS more
    FROM said WHERE kind NOT IN ('failed', 'unsubscribed')
    UNION ALL
    SELECT said.*, %(delivered)s, 'delivered', occurred_at, '{}'
    FROM said WHERE kind IN ('delivered', 'opened', 'clicked', 'complained')
    UNION ALL
    SELECT said.*, %(bounced)s, 'bounced', occurred_at,
           jsonb_build_object('bounce', CASE kind WHEN 'bounced' THEN 'hard' ELSE 'soft' END, 'reason', words)
    FROM said WHERE kind IN ('bounced', 'soft_bounced')
    UNION ALL
    SELECT said.*, %(complained)s, 'complained', occurred_at, '{}' FROM said WHERE kind = 'complained'
    UNION ALL
    SELECT said.*, CASE kind WHEN 'opened' THEN %(opened)s ELSE %(clicked)s END,
           kind || ':' || extract(epoch FROM occurred_at) || ':' || md5(COALESCE(properties ->> 'url', '')),
           occurred_at, properties
    FROM said
    WHERE kind = 'clicked' AND NOT properties ? 'ours'
       OR kind = 'opened' AND EXISTS (
           SELECT 1 FROM customers_consent AS consent
           WHERE consent.customer_id = said.customer_id AND consent.purpose = 'open_tracking'
             AND consent.state = 'granted')
)
INSERT INTO customers_event (customer_id, name, channel, source, key, occurred_at, order_ref, properties)
SELECT fact.customer_id, fact.name, fact.channel, 'campaigns', fact.id || ':' || fact.key, fact.at, '',
       jsonb_build_object('campaign', campaign.id, 'campaign_name', campaign.name, 'message', fact.id,
                          'subject', COALESCE(content.subject, '')) || fact.more
FROM fact
JOIN campaigns_campaign AS campaign ON campaign.id = fact.campaign_id
LEFT JOIN campaigns_content AS content ON content.id = fact.content_id
ORDER BY fact.id, fact.key, fact.at
ON CONFLICT (source, key) DO NOTHING
""")

UNWANTED = _with_said("""
WITH said
SELECT DISTINCT channel, address, kind FROM said
WHERE (kind IN ('complained', 'unsubscribed', 'bounced') OR because = 'revoked') AND address <> ''
""")

# Soft bounces on several days with nothing delivered in between: nobody is there. Uses event_timeline.
WORN_OUT = _with_said("""
WITH said,
soft AS (
    SELECT DISTINCT customer_id, channel, address FROM said WHERE kind = 'soft_bounced' AND address <> ''
)
SELECT soft.channel, soft.address FROM soft
WHERE %(days)s <= (
    SELECT count(DISTINCT (event.occurred_at AT TIME ZONE 'UTC')::date)
    FROM customers_event AS event
    JOIN campaigns_message AS message ON message.id = (event.properties ->> 'message')::bigint
    WHERE event.customer_id = soft.customer_id AND event.name = %(bounced)s AND event.channel = soft.channel
      AND event.properties ->> 'bounce' = 'soft' AND message.address = soft.address
      AND event.occurred_at > now() - %(window)s
      AND event.occurred_at > COALESCE(
          (SELECT max(arrived.occurred_at) FROM customers_event AS arrived
           WHERE arrived.customer_id = soft.customer_id AND arrived.name = %(delivered)s
             AND arrived.channel = soft.channel AND arrived.occurred_at > now() - %(window)s),
          '-infinity')
)
""")

# What the report said of the person is not needed any more.
FINISH = _with_said("""
WITH said
UPDATE campaigns_providerreport AS report SET
    processed_at = clock_timestamp(), attempts = report.attempts + 1, problem = '', error = '',
    address = '', payload = '{}', properties = '{}'
FROM said WHERE report.id = said.report_id
""")

# Those of the batch that are still open: another try after a wait, then dead.
POSTPONE = """
UPDATE campaigns_providerreport SET
    attempts = attempts + 1, problem = %(problem)s, error = %(error)s,
    due_at = now() + make_interval(secs => COALESCE((%(waits)s::int[])[attempts + 1], 0)),
    dead_at = CASE WHEN attempts >= cardinality(%(waits)s::int[]) THEN now() END
WHERE id = ANY(%(ids)s) AND processed_at IS NULL
"""
