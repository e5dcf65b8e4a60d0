"""`manage.py queues`: what waits, what is under way, what went wrong."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ...operating import age, rings_waiting, table
from ...standing import MANY, Standing, look


class Command(BaseCommand):
    help = "Shows what waits to be sent, what is in doubt, what failed, and everything else that waits."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="for programs; ages and lags in seconds")

    def handle(self, *args: Any, **options: Any) -> None:
        standing, rings = look(), rings_waiting()
        if options["json"]:
            self.stdout.write(json.dumps(standing.as_json() | {"rings": rings}, indent=2))
            return
        for title, text in _sections(standing, rings):
            self.stdout.write(f"{self.style.MIGRATE_HEADING(title)}\n{text}\n\n")


def _sections(standing: Standing, rings: dict[str, int] | None) -> list[tuple[str, str]]:
    database = standing.database
    told = [
        ("Sending", _lanes(standing)),
        ("Messages, as campaigns were last counted", _messages(standing)),
        ("Failed and unknown", _trouble(standing)),
        ("Providers", _providers(standing)),
        ("Everything else", _others(standing)),
    ]
    connections = (
        f"{database.active} active connections, {database.idle} idle, {database.idle_in_transaction} "
        f"idle in a transaction, of {database.most}; "
        f"longest transaction {age(database.longest_transaction)}; {database.bytes / 1024**2:,.0f} MB"
    )
    broker = ", ".join(f"{name} {count}" for name, count in rings.items()) if rings else None
    told.append(("Database", connections))
    told.append(
        ("Rings waiting at the broker", broker or "The broker does not answer. Beat rings again later.")
    )
    return [(title, text) for title, text in told if text]


def _lanes(standing: Standing) -> str:
    rows = [
        (
            lane.channel,
            "on" if lane.is_on else f"OFF: {lane.why_off}",
            f"{MANY:,}+" if lane.due >= MANY else f"{lane.due:,}",
            age(lane.oldest_due),
            lane.leased,
            lane.sending,
            lane.in_doubt,
            lane.sent_last_minute,
        )
        for lane in standing.lanes
    ]
    head = (
        "channel",
        "sending is",
        "due",
        "oldest",
        "leased",
        "sending",
        "in doubt",
        "sent in the last minute",
    )
    return table(head, rows)


def _messages(standing: Standing) -> str:
    states = sorted({one.state for one in standing.messages})
    counts = {(one.channel, one.state): one.messages for one in standing.messages}
    rows = [
        (channel, *(counts.get((channel, state), 0) for state in states))
        for channel in sorted({one.channel for one in standing.messages})
    ]
    return table(("channel", *states), rows) if rows else ""


def _trouble(standing: Standing) -> str:
    rows = [(one.channel, one.status, one.reason, one.messages, age(one.oldest)) for one in standing.trouble]
    return table(("channel", "are", "because", "messages", "oldest"), rows) if rows else "none"


def _providers(standing: Standing) -> str:
    rows = [
        (one.provider, one.state, one.failures, age(one.rests_for), one.detail[:60])
        for one in standing.providers
    ]
    text = table(("provider", "breaker", "failures", "rests", "last words"), rows) if rows else ""
    paces = ", ".join(f"{pace.key} {pace.left:.1f} left" for pace in standing.paces)
    return "\n".join(part for part in (text, paces and f"paces: {paces}") if part) or "none has failed"


def _others(standing: Standing) -> str:
    inbox, segments = standing.inbox, standing.segments
    rows = [
        ("reports of providers", f"{inbox.waiting:,} waiting, {inbox.dead:,} dead", age(inbox.oldest_due))
    ]
    rows += [
        (
            f"imports of {one.kind}",
            f"{one.queued} queued, {one.running} running, {one.rows:,} rows so far",
            "–",
        )
        for one in standing.imports
    ]
    rows.append(
        (
            "segments",
            f"{segments.due} of {segments.active} due, {segments.timed_out} ran out of time",
            age(segments.overdue),
        )
    )
    rows += [
        (f"log reader {one.name}", "all read" if not one.lag else "behind", age(one.lag))
        for one in standing.readers
    ]
    return table(("what", "how it stands", "late"), rows)
