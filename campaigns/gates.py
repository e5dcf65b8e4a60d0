"""The gates every message passes twice: when the audience is planned, and when it is fenced for sending.

One piece of SQL judges both times. A gate passes, drops the message for a reason, or defers it to a later
hour. Reasons are given in this order: too late, no consent, blocked, no address, somebody else's address,
held out, and last too much for one person (campaigns.limits). Who is held out is told when planning, among
those who would otherwise have got it, and never written to by that campaign.
"""

import hashlib
from typing import Any

# Columns the judged rows must have: address, consent, suppression (as customers.contact gives them),
# due_at, expires_at.
REASON = """
    CASE
        WHEN expires_at <= now() THEN 'expired'
        WHEN consent = 'revoked' THEN 'revoked'
        WHEN consent IS DISTINCT FROM 'granted' THEN 'no_consent'
        WHEN suppression IS NOT NULL THEN 'suppressed'
        WHEN address IS NULL THEN 'no_address'
        WHEN expires_at <= due_at THEN 'expired'
        ELSE ''
    END
"""

# Whether a message to somebody else at this address is under way already. identifier_once gives an address
# to one person at a time; this is for addresses that changed hands since. Uses message_once_per_address.
SAME_ADDRESS = """
    EXISTS (
        SELECT FROM campaigns_message AS taken
        WHERE taken.campaign_id = {campaign} AND taken.channel = {channel} AND taken.address = {address}
          AND taken.step = 0 AND taken.occurrence = {occurrence} AND taken.status <> 'suppressed'
          AND taken.customer_id <> {customer})
"""

# Whether a person is one of those a campaign leaves out, for comparison: a lot drawn from both ids, so the
# same on every channel, at every time of a series and however often it is drawn.
HELD_OUT = "(hashint8extended({customer}, %(lot)s) & 1048575) < %(held_out)s"


def lot_params(campaign_id: int, percent: int) -> dict[str, Any]:
    """What HELD_OUT needs to leave out so many of a hundred people."""
    seed = hashlib.sha256(f"holdout of campaign {campaign_id}".encode()).digest()
    return {"lot": int.from_bytes(seed[:8], signed=True), "held_out": round(percent / 100 * 2**20)}


# When it may go: `moment`, or the end of the quiet hours it falls into where the person lives.
# Needs campaign, brand and customer (aliases as written) in scope.
DUE_AT = """
    CASE WHEN campaign.respect_quiet_hours THEN
        outside_quiet_hours(
            {moment}, COALESCE(NULLIF(customer.timezone, ''), brand.timezone),
            brand.quiet_from, brand.quiet_until)
    ELSE {moment} END
"""

# Creates the function the gates call; installed by a migration.
OUTSIDE_QUIET_HOURS = """
CREATE OR REPLACE FUNCTION outside_quiet_hours(
    moment timestamptz, zone text, quiet_from time, quiet_until time
) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN quiet_from = quiet_until THEN moment
        WHEN quiet_from < quiet_until AND clock >= quiet_from AND clock < quiet_until
            THEN (day + quiet_until) AT TIME ZONE zone
        WHEN quiet_from > quiet_until AND clock >= quiet_from
            THEN (day + 1 + quiet_until) AT TIME ZONE zone
        WHEN quiet_from > quiet_until AND clock < quiet_until
            THEN (day + quiet_until) AT TIME ZONE zone
        ELSE moment
    END
    FROM (SELECT (moment AT TIME ZONE zone)::time, (moment AT TIME ZONE zone)::date) AS local(clock, day)
$$;
"""
