"""Whether messages may leave at all, kept in the database so that every process obeys at its next window.

Sending is allowed in one place: the database it was allowed in. A dump carries the row but not the place,
so that a restored copy stays silent until somebody turns sending on there. What tells places apart is the
cluster's own number, the database and the table; whoever copies a whole cluster's files copies these too and
starts the copy with SENDS=off in its environment.
"""

from dataclasses import dataclass
from datetime import datetime

import structlog
from django.conf import settings
from django.db import connection, transaction

from core.errors import DomainError
from customers.models import Channel

from .models import Campaign, Switch

log = structlog.get_logger(__name__)

HOUSE = "sends"

# Both are read by the claim; the fence, which runs a hundred times as often, reads only the rows.
FUNCTIONS = """
CREATE FUNCTION place_of_database() RETURNS text STABLE LANGUAGE sql AS $$
    SELECT system_identifier || '/' || oid || '/' || 'campaigns_switch'::regclass::oid
    FROM pg_control_system(), pg_database WHERE datname = current_database()
$$;
CREATE FUNCTION sends_are_on(channel text) RETURNS boolean STABLE LANGUAGE sql AS $$
    SELECT EXISTS (SELECT 1 FROM campaigns_switch
                   WHERE name = 'sends' AND is_on AND place = place_of_database())
       AND NOT EXISTS (SELECT 1 FROM campaigns_switch WHERE name = 'sends:' || channel AND NOT is_on)
$$;
"""
DROP_FUNCTIONS = "DROP FUNCTION sends_are_on(text); DROP FUNCTION place_of_database()"

_TURN = """
INSERT INTO campaigns_switch AS switch (name, is_on, place, reason, by, changed_at)
VALUES (%(name)s, %(on)s, place_of_database(), %(reason)s, %(by)s, clock_timestamp())
ON CONFLICT (name) DO UPDATE SET is_on = EXCLUDED.is_on, place = EXCLUDED.place, reason = EXCLUDED.reason,
                                 by = EXCLUDED.by, changed_at = EXCLUDED.changed_at
"""

_STATUS = """
SELECT name, is_on, reason, by, changed_at, name <> 'sends' OR place = place_of_database()
FROM campaigns_switch ORDER BY name
"""

# What workers hold or have on the wire. Uses message_leases.
_HELD = """
SELECT count(*) FROM campaigns_message
WHERE status IN ('leased', 'sending') AND lease_until > clock_timestamp()
  AND (%(channel)s = '' OR channel = %(channel)s)
"""


@dataclass(frozen=True)
class State:
    """What one switch says: the house's (`channel` is empty) or a channel's."""

    channel: str
    is_on: bool
    reason: str
    by: str
    changed_at: datetime | None
    is_copy: bool = False  # On, but written in another database than this one.

    @property
    def channel_name(self) -> str:
        """What screens call the channel; empty for the house's own switch."""
        return str(Channel(self.channel).label) if self.channel else ""

    @property
    def words(self) -> str:
        """Why it is off, for those who run the house; empty when it is on."""
        if self.is_on:
            return ""
        if self.is_copy:
            return "this database is a copy"
        return self.reason or "no reason given"


@transaction.atomic
def turn_sends(on: bool, *, channel: str = "", reason: str = "", by: str) -> None:
    """Let messages leave, or hold all that is not on the wire yet; of one channel, or of the house.

    Repeating changes nothing but who said it last and why.
    """
    if channel and channel not in Channel.values:
        raise DomainError(f"There is no channel called {channel}.")
    name = f"{HOUSE}:{channel}" if channel else HOUSE
    with connection.cursor() as cursor:
        cursor.execute(_TURN, {"name": name, "on": on, "reason": reason[:300], "by": by[:150]})
    log.info("sends_turned", switch=name, on=on, by=by)


def states() -> list[State]:
    """Every switch there is, the house's first."""
    with connection.cursor() as cursor:
        cursor.execute(_STATUS)
        found = [
            State(name.partition(":")[2], is_on and is_here, reason, by, at, is_copy=is_on and not is_here)
            for name, is_on, reason, by, at, is_here in cursor.fetchall()
        ]
    return found or [State("", is_on=False, reason="", by="", changed_at=None)]


def why_off(channels: list[str]) -> State | None:
    """The switch that holds these channels back, None when they may go. One query."""
    if not settings.SENDS:
        return State("", is_on=False, reason="SENDS=off", by="", changed_at=None)
    off = [state for state in states() if not state.is_on and state.channel in ("", *channels)]
    return off[0] if off else None


def held(channel: str = "") -> int:
    """How many messages live workers hold or are sending."""
    with connection.cursor() as cursor:
        cursor.execute(_HELD, {"channel": channel})
        count: int = cursor.fetchone()[0]
    return count


def settle_in(**_: object) -> None:
    """After migrating: a house without a campaign has nothing a copy could send twice, so it may send."""
    if Switch._meta.db_table not in connection.introspection.table_names():
        return  # Migrated to before it had one.
    if not Campaign.objects.exists() and not any(state.by and not state.is_copy for state in states()):
        turn_sends(True, by="manage.py migrate")
