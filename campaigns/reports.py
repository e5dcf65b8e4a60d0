"""Making reports count: what a message became, who is written to no more, what the event log says.

Reports count in batches, each in one transaction. What a report does depends on it alone and never on the
order of arrival: the status of a message is the strongest of all reports about it, and every event of the
log has a key of its own.

Strength, weakest first: sent, failed, delivered, bounced. Opening, clicking and complaining prove that a
message was delivered. Something delivered may still come back; nothing that came back is delivered
afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from django.db import DatabaseError, connection, transaction
from django.db.models import Count, Max, Min, Q
from django.utils.timezone import now

from customers import events
from customers.models import ConsentState, Suppression
from customers.services import suppress_addresses

from . import reports_sql as sql
from . import services
from .models import Message, ProviderReport

if TYPE_CHECKING:
    from core.models import User

log = structlog.get_logger(__name__)

Kind = ProviderReport.Kind
Problem = ProviderReport.Problem
LEAVING = (Kind.COMPLAINED, Kind.UNSUBSCRIBED)
# A report may come before our own note of what was sent; later it is about somebody else's message.
TRY_AGAIN_AFTER = (10, 60, 300, 1800, 7200, 21600)  # Seconds; then it is dead.
KEEP_PROCESSED = timedelta(days=30)  # Longer than any provider repeats itself.
KEEP_DEAD = timedelta(days=90)
SOFT_BOUNCE_DAYS = 3  # On so many different days, …
SOFT_BOUNCE_WINDOW = timedelta(days=30)  # … within this long, nothing delivered in between: given up.


def process(*, limit: int = 500) -> int:
    """Make the next reports count; returns how many were taken up. Any number of workers may call it."""
    gone = _let_go(limit)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql.CLAIM, {"leaving": list(LEAVING), "gone": gone, "limit": limit})
        ids = [report_id for (report_id,) in cursor.fetchall()]
        if ids:
            try:
                with transaction.atomic():
                    _apply(ids)
            except DatabaseError:
                for report_id in ids:  # One of them is poison: the others must not wait for it.
                    _apply_alone(report_id)
    return len(ids)


def replay(*, by: "User", ids: Sequence[int] | None = None, problem: str = "", provider: str = "") -> int:
    """Try dead reports again: these, or all with one problem of one provider. Returns how many.

    What nobody could read stays dead.
    """
    dead = ProviderReport.objects.exclude(dead_at=None).exclude(kind=Kind.UNREADABLE)
    dead = dead.filter(pk__in=ids) if ids is not None else dead.filter(problem=problem, provider=provider)
    count = dead.update(dead_at=None, attempts=0, due_at=now(), problem="", error="")
    log.info("reports_replayed", count=count, by=by.pk)
    return count


def sweep() -> int:
    """Drop reports that are long over; returns how many."""
    done, _ = ProviderReport.objects.filter(processed_at__lt=now() - KEEP_PROCESSED).delete()
    dead, _ = ProviderReport.objects.filter(dead_at__lt=now() - KEEP_DEAD).delete()
    return done + dead


# --- inside -------------------------------------------------------------------------------------


def _let_go(limit: int) -> list[int]:
    """Withdraw the consent of those who complained or unsubscribed at the provider; returns those reports.

    It comes first and apart: whoever changes a consent locks the person and no message, and what follows
    locks messages. Done twice it changes nothing.
    """
    leaving = Q(kind__in=LEAVING) | Q(reason=Message.Reason.REVOKED)
    due = ProviderReport.objects.filter(leaving, processed_at=None, dead_at=None, due_at__lte=now())
    waiting = due.order_by("due_at", "pk")[:limit]
    for report in waiting:
        message = _message_of(report)
        if message and not _agreed_again(message, report.occurred_at):
            what = "complaint" if report.kind == Kind.COMPLAINED else "unsubscribed"
            services.unsubscribe(message.pk, source=f"{what}, told by {report.provider}")
    return [report.pk for report in waiting]


def _message_of(report: ProviderReport) -> Message | None:
    messages = Message.objects.filter(channel=report.channel, attempts__gt=0)
    if report.message:
        return messages.filter(pk=report.message).first()
    if not report.ref:
        return None
    return messages.filter(provider_ref=report.ref, provider__in=[report.provider, ""]).first()


def _agreed_again(message: Message, after: datetime) -> bool:
    consents = message.customer.consents.filter(channel=message.channel, purpose="marketing")
    return consents.filter(state=ConsentState.GRANTED, effective_at__gt=after).exists()


def _apply_alone(report_id: int) -> None:
    try:
        with transaction.atomic():
            _apply([report_id])
    except DatabaseError as error:
        # Only the first line: the next ones quote the row, and a person's address with it.
        words = str(error).partition("\n")[0]
        log.warning("report_failed", report=report_id, error=type(error).__name__)
        with connection.cursor() as cursor:
            cursor.execute(
                sql.POSTPONE,
                {
                    "ids": [report_id],
                    "problem": Problem.ERROR,
                    "error": words[:300],
                    "waits": list(TRY_AGAIN_AFTER),
                },
            )


def _apply(ids: list[int]) -> None:
    """Everything these reports do, in the caller's transaction."""
    params: dict[str, Any] = {
        "ids": ids,
        "sent": events.MESSAGE_SENT,
        "delivered": events.MESSAGE_DELIVERED,
        "opened": events.MESSAGE_OPENED,
        "clicked": events.MESSAGE_CLICKED,
        "bounced": events.MESSAGE_BOUNCED,
        "complained": events.MESSAGE_COMPLAINED,
    }
    with connection.cursor() as cursor:
        cursor.execute(sql.RESOLVE, params)
        cursor.execute(sql.LOCK_MESSAGES, params)
        cursor.execute(sql.SETTLE, params)
        cursor.execute(sql.PRICE, params)
        cursor.execute(sql.TELL, params)
        suppress_addresses(_addresses_to_suppress(ids))
        cursor.execute(sql.FINISH, params)
        cursor.execute(
            sql.POSTPONE,
            {"ids": ids, "problem": Problem.UNKNOWN_MESSAGE, "error": "", "waits": list(TRY_AGAIN_AFTER)},
        )


def _addresses_to_suppress(ids: list[int]) -> list[tuple[str, str, str]]:
    """(channel, address, reason) of those nothing may be sent to any more, the gravest reason first."""
    params: dict[str, Any] = {
        "ids": ids,
        "bounced": events.MESSAGE_BOUNCED,
        "delivered": events.MESSAGE_DELIVERED,
        "days": SOFT_BOUNCE_DAYS,
        "window": SOFT_BOUNCE_WINDOW,
    }
    reasons: dict[str, str] = {
        Kind.COMPLAINED: Suppression.Reason.COMPLAINED,
        Kind.UNSUBSCRIBED: Suppression.Reason.UNSUBSCRIBED,
        Kind.FAILED: Suppression.Reason.UNSUBSCRIBED,  # Refused because the person left.
        Kind.BOUNCED: Suppression.Reason.BOUNCED,
    }
    with connection.cursor() as cursor:
        cursor.execute(sql.UNWANTED, params)
        unwanted = [(channel, address, reasons[Kind(kind)]) for channel, address, kind in cursor.fetchall()]
        cursor.execute(sql.WORN_OUT, params)
        worn = [(channel, address, Suppression.Reason.BOUNCED) for channel, address in cursor.fetchall()]
    gravest = list(reasons.values())
    return sorted(unwanted, key=lambda row: gravest.index(row[2])) + worn


# --- how it stands ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Health:
    """How the inbox stands: what waits, since when, and what was given up."""

    waiting: int
    oldest: datetime | None  # Since when the longest waiting of those that are due has waited.
    dead: int


def health() -> Health:
    """The inbox now. Two short queries over partial indexes."""
    waiting = ProviderReport.objects.filter(processed_at=None, dead_at=None)
    due = waiting.filter(due_at__lte=now()).aggregate(oldest=Min("due_at"))
    return Health(
        waiting=waiting.count(),
        oldest=due["oldest"],
        dead=ProviderReport.objects.exclude(dead_at=None).count(),
    )


def dead_by_problem() -> list[dict[str, Any]]:
    """The given up by provider and problem: how many, since when, the last error. Uses report_dead."""
    dead = ProviderReport.objects.exclude(dead_at=None).values("provider", "problem")
    groups = dead.annotate(count=Count("pk"), last=Max("dead_at"), last_error=Max("error")).order_by("-last")
    return [
        {
            **group,
            "problem_label": Problem(group["problem"]).label,
            "may_be_tried": group["problem"] != Problem.UNREADABLE,
        }
        for group in groups
    ]
