"""The gates every message passes twice: when the audience is planned, and when it is fenced for sending.

One piece of SQL judges both times. A gate passes, drops the message for a reason, or defers it to a later
hour; the order below is the order in which reasons are given.
"""

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
