"""How much one person may be sent: points in seven days, and messages on one day of their own clock.

Both limits are the brand's, and both count what every campaign of every brand has sent the person: patience
is one. Planning judges by what has been sent; the fence judges again, one worker at a time for each person,
so that two campaigns racing for somebody cannot both pass. A message that does not fit waits until it does,
and is held back where that would be too late for it.
"""

from typing import Any

from customers.models import Channel

from .models import Brand

POINTS: dict[str, int] = {Channel.EMAIL: 1, Channel.SMS: 2}
_UNLIMITED = 1_000_000

# What reached somebody, or may have, within seven days; no message leaves later than 32 days after it was
# planned, being planned two days ahead at most and expiring after 720 hours.
_COUNTS = """
    message.status IN ('sending', 'sent', 'delivered', 'unknown')
    AND message.sending_at > {moment} - interval '7 days'
    AND message.planned_at > {moment} - interval '7 days' - interval '32 days'
"""

# When a message fits again, asking for {points} together with {before} others of its campaign that go first;
# null when it fits at {moment}. {zone} is where the person lives; {spent} what they were sent before, `since`
# being the points from a message on to the newest.
_FREE_AT = """
LATERAL (
    SELECT GREATEST(
        max(spent.sending_at) FILTER (WHERE spent.since + {points} > {weekly}) + interval '7 days',
        CASE WHEN {points} > {weekly} THEN {moment} + interval '7 days' END,
        CASE WHEN {before} + count(*) FILTER (WHERE (spent.sending_at AT TIME ZONE {zone})::date
                                                    >= ({moment} AT TIME ZONE {zone})::date) >= {daily}
             THEN (date_trunc('day', {moment} AT TIME ZONE {zone}) + interval '1 day') AT TIME ZONE {zone}
        END) AS free_at
    FROM {spent} AS spent
) AS pressure
"""


def points_sql(channel: str) -> str:
    """The points of a channel, as SQL."""
    whens = " ".join(f"WHEN '{name}' THEN {points}" for name, points in POINTS.items())
    return f"(CASE {channel} {whens} END)"


# In the fence: `pressure.free_at` of the message `mine`; ONE_AT_A_TIME keeps the person's others as they are.
# Uses message_of_customer.
_SPENT_BY_ONE = f"""(
    SELECT message.sending_at, sum({points_sql("message.channel")})
           OVER (ORDER BY message.sending_at DESC, message.id DESC) AS since
    FROM campaigns_message AS message
    WHERE message.customer_id = mine.customer_id AND message.id <> mine.id
      AND {_COUNTS.format(moment="now()")}
)"""  # noqa: S608 - pieces of ours
AT_THE_FENCE = f"""
LEFT JOIN {
    _FREE_AT.format(
        points=points_sql("mine.channel"),
        before="0",
        weekly="brand.weekly_points",
        daily="brand.daily_messages",
        moment="now()",
        zone="COALESCE(NULLIF(customer.timezone, ''), brand.timezone)",
        spent=_SPENT_BY_ONE,
    )
} ON brand.weekly_points IS NOT NULL OR brand.daily_messages IS NOT NULL
"""

# One fence at a time for each person of `held`, until it has committed; in one order, so that two never wait
# for each other. Nothing else takes these locks, so an import or an edit of the person holds up no message.
ONE_AT_A_TIME = """
SELECT pg_advisory_xact_lock(3, person.key)
FROM (SELECT hashint8(id) AS key FROM held ORDER BY key) AS person
"""

# When planning: what everybody was sent, as a table expression with one row a person, read once before
# anything is written; uses message_planned.
SPENT_BY_ALL = f"""
sent_lately AS (
    SELECT message.customer_id, message.sending_at, sum({points_sql("message.channel")})
           OVER (PARTITION BY message.customer_id ORDER BY message.sending_at DESC, message.id DESC) AS since
    FROM campaigns_message AS message
    WHERE {_COUNTS.format(moment="%(at)s")}
),
spent AS MATERIALIZED (
    SELECT customer_id, array_agg(sending_at) AS moments, array_agg(since) AS points
    FROM sent_lately GROUP BY customer_id
),
"""  # noqa: S608 - pieces of ours

# And `pressure.free_at` of a row of `asking` (customer_id, zone, due_at, passes, points, before), who asks
# for so many points together with the messages of this campaign that go before. Rows that do not pass are
# not looked at.
_PRESSURE = _FREE_AT.format(
    points="asking.points",
    before="asking.before",
    weekly="%(weekly_points)s",
    daily="%(daily_messages)s",
    moment="asking.due_at",
    zone="COALESCE(NULLIF(asking.zone, ''), %(brand_zone)s)",
    spent="""(
        SELECT one.sending_at, one.since
        FROM unnest(CASE WHEN asking.passes THEN spent.moments END, spent.points) AS one(sending_at, since)
        WHERE one.sending_at > asking.due_at - interval '7 days'
    )""",
)
WHEN_PLANNING = f"LEFT JOIN spent ON spent.customer_id = asking.customer_id CROSS JOIN {_PRESSURE}"


def are_set(brand: Brand) -> bool:
    """Whether a brand limits anything."""
    return brand.weekly_points is not None or brand.daily_messages is not None


def params_for(brand: Brand) -> dict[str, Any]:
    """What WHEN_PLANNING needs."""
    return {
        "weekly_points": _UNLIMITED if brand.weekly_points is None else brand.weekly_points,
        "daily_messages": _UNLIMITED if brand.daily_messages is None else brand.daily_messages,
        "brand_zone": brand.timezone,
    }
