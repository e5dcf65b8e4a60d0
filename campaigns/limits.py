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

# What was sent in the seven days before {moment} and reached the person, or may have; `since` are the points
# from a message on to the newest. Uses message_of_customer: no message leaves later than 32 days after it was
# planned, being planned two days ahead at most and expiring after 720 hours.
_SPENT = """
    SELECT message.sending_at,
           sum({points}) OVER (ORDER BY message.sending_at DESC, message.id DESC) AS since
    FROM campaigns_message AS message
    WHERE message.customer_id = {customer} AND {condition}
      AND message.status IN ('sending', 'sent', 'delivered', 'unknown')
      AND message.sending_at > {moment} - interval '7 days'
      AND message.planned_at > {moment} - interval '7 days' - interval '32 days'
"""

# When a message fits again, asking for {points} together with {before} others of its campaign that go first;
# null when it fits at {moment}. {zone} is where the person lives.
_FREE_AT = """
LATERAL (
    SELECT GREATEST(
        max(spent.sending_at) FILTER (WHERE spent.since + {points} > {weekly}) + interval '7 days',
        CASE WHEN {points} > {weekly} THEN {moment} + interval '7 days' END,
        CASE WHEN {before} + count(*) FILTER (WHERE (spent.sending_at AT TIME ZONE {zone})::date
                                                    >= ({moment} AT TIME ZONE {zone})::date) >= {daily}
             THEN (date_trunc('day', {moment} AT TIME ZONE {zone}) + interval '1 day') AT TIME ZONE {zone}
        END) AS free_at
    FROM ({spent}) AS spent
) AS pressure
"""


def points_sql(channel: str) -> str:
    """The points of a channel, as SQL."""
    whens = " ".join(f"WHEN '{name}' THEN {points}" for name, points in POINTS.items())
    return f"(CASE {channel} {whens} END)"


# In the fence: `pressure.free_at` of the message `mine`. Other rows of the same person are locked by
# ONE_AT_A_TIME.
AT_THE_FENCE = f"""
LEFT JOIN {
    _FREE_AT.format(
        points=points_sql("mine.channel"),
        before="0",
        weekly="brand.weekly_points",
        daily="brand.daily_messages",
        moment="now()",
        zone="COALESCE(NULLIF(customer.timezone, ''), brand.timezone)",
        spent=_SPENT.format(
            points=points_sql("message.channel"),
            customer="mine.customer_id",
            condition="message.id <> mine.id",
            moment="now()",
        ),
    )
} ON brand.weekly_points IS NOT NULL OR brand.daily_messages IS NOT NULL
"""

# One fence at a time for each person, until it has committed; in one order, so that two never wait for each
# other. Nothing else takes these locks, so an import or an edit of the person holds up no message.
ONE_AT_A_TIME = """
SELECT pg_advisory_xact_lock(3, person.key) FROM (
    SELECT DISTINCT hashint8(customer_id) AS key FROM campaigns_message
    WHERE id = ANY(%(ids)s::bigint[]) ORDER BY key
) AS person
"""

# When planning: `pressure.free_at` of a row of `asking` (customer_id, channel, zone, due_at, passes, points,
# before), who asks for so many points together with the messages of this campaign that go before. Rows that
# do not pass are not looked at.
WHEN_PLANNING = "CROSS JOIN " + _FREE_AT.format(
    points="asking.points",
    before="asking.before",
    weekly="%(weekly_points)s",
    daily="%(daily_messages)s",
    moment="asking.due_at",
    zone="COALESCE(NULLIF(asking.zone, ''), %(brand_zone)s)",
    spent=_SPENT.format(
        points=points_sql("message.channel"),
        customer="asking.customer_id",
        condition="asking.passes",
        moment="asking.due_at",
    ),
)


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
