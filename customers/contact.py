"""Where and whether a person may be reached: one piece of SQL for segment counts, planning and the fence."""

from collections.abc import Iterable
from typing import Any

from django.db import connection

from .addresses import address_hash_params, address_hash_sql
from .models import Channel, Customer, Identifier

ADDRESS_KIND: dict[str, str] = {
    Channel.EMAIL: Identifier.Kind.EMAIL,
    Channel.SMS: Identifier.Kind.PHONE,
}

# One row per person and channel. Every join is plain, so the planner searches the indexes for the few
# people of a fence and reads every table once for a million. The preferred address is the one no other of
# the person's is better than; identifier_of_customer holds all it takes, in order. Only where there is a
# yes is the address hashed and looked up among the suppressed.
_OF_CHANNEL = """
SELECT person.id AS customer_id{carried}, '{channel}' AS channel, best.value AS address,
       consent.state AS consent, suppression.reason AS suppression
FROM people AS person
LEFT JOIN (
    SELECT one.customer_id, one.value FROM customers_identifier AS one
    WHERE one.kind = '{kind}' AND NOT EXISTS (
        SELECT FROM customers_identifier AS other
        WHERE other.customer_id = one.customer_id AND other.kind = '{kind}'
          AND (COALESCE(other.verified_at, '-infinity'), -other.id)
              > (COALESCE(one.verified_at, '-infinity'), -one.id))
) AS best ON best.customer_id = person.id
LEFT JOIN customers_consent AS consent
    ON consent.customer_id = person.id AND consent.channel = '{channel}' AND consent.purpose = 'marketing'
LEFT JOIN customers_suppression AS suppression
    ON suppression.channel = '{channel}'
    AND suppression.address_hash = CASE consent.state WHEN 'granted' THEN {hash} END
WHERE '{channel}' = ANY(%(channels)s::text[])
"""


def contacts_sql(people: str, *, carry: Iterable[str] = (), of: Iterable[str] = ADDRESS_KIND) -> str:
    """SELECT of (customer_id, channel, address, consent, suppression) for each person and channel.

    `of` names the channels the parameters may ask for: the fewer, the smaller the plan.

    `people` is SQL of ours with a column `id`: a table name or a parenthesised SELECT. Further columns of
    it are carried along after customer_id, which spares joining people to themselves. Somebody is reachable
    when address is not null, consent is 'granted' and suppression is null. `suppression` says nothing where
    consent is not 'granted'.
    """
    hashed = address_hash_sql("best.value")
    carried = "".join(f", person.{column}" for column in carry)
    of_channels = (
        _OF_CHANNEL.format(carried=carried, channel=channel, kind=ADDRESS_KIND[channel], hash=hashed)
        for channel in of
    )
    columns = ", ".join(["id", *carry])
    return f"WITH people AS (SELECT {columns} FROM {people} AS given) {'UNION ALL'.join(of_channels)}"  # noqa: S608


def contacts_params(channels: Iterable[str]) -> dict[str, Any]:
    """The parameters `contacts_sql` needs for these channels."""
    return {"channels": list(channels), **address_hash_params()}


def count_reachable(people: str, params: dict[str, Any], channels: list[str]) -> dict[str, int]:
    """How many of these people each channel may reach now: {'email': 120, 'sms': 80}."""
    sql = f"""
        SELECT channel, count(*) FILTER (
            WHERE address IS NOT NULL AND consent = 'granted' AND suppression IS NULL)
        FROM ({contacts_sql(people)}) AS contacts GROUP BY channel
    """  # noqa: S608 - the people are SQL we compiled; values travel as parameters
    with connection.cursor() as cursor:
        cursor.execute(sql, params | contacts_params(channels))
        found = dict(cursor.fetchall())
    return {channel: found.get(channel, 0) for channel in channels}


def best(identifiers: Iterable[Identifier], kind: str) -> str:
    """The address `contacts_sql` would choose, from identifiers already loaded; empty when there is none."""
    ours = [identifier for identifier in identifiers if identifier.kind == kind]
    if not ours:
        return ""
    verified = sorted((i for i in ours if i.verified_at), key=lambda i: (i.verified_at, -i.pk), reverse=True)
    return (verified or sorted(ours, key=lambda i: i.pk))[0].value


def name_of(customer: Customer, identifiers: Iterable[Identifier]) -> str:
    """What to call a customer: the name, or the best of what else points at them."""
    if customer.full_name:
        return customer.full_name
    known = list(identifiers)
    kinds = (Identifier.Kind.EMAIL, Identifier.Kind.PHONE, Identifier.Kind.USER_ID)
    return next(filter(None, (best(known, kind) for kind in kinds)), str(customer))
