"""What needs somebody: a problem, what follows from it, and one thing to do about it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Q
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns.models import Campaign
from core.templatetags.ui import num, percent
from customers.models import ImportJob
from segments.models import Segment

from .overview import DRAFT_DAYS, Launched

if TYPE_CHECKING:
    from core.models import User

LAUNCHED_DAYS = 30
IMPORT_DAYS = 14
BOUNCES_FROM = 20  # Below so many messages a share says nothing.
TOO_MANY_BOUNCES = 0.02  # Mail providers start to distrust a sender about here.
OLD_COUNT = timedelta(hours=24)
START_BY = timedelta(minutes=5)
BAD, WARN, INFO = 0, 1, 2
TONES = {BAD: "bad", WARN: "warn", INFO: "email"}


@dataclass(frozen=True)
class Matter:
    """Something to look at; `posts` tells a deed from a link."""

    weight: int
    icon: str
    problem: str
    consequence: str
    action: str
    url: str
    posts: bool = False

    @property
    def tone(self) -> str:
        """What `data-channel` paints it with."""
        return TONES[self.weight]


def matters(
    user: "User", *, coming: Iterable[Any], launched: Iterable[Launched], now: datetime
) -> list[Matter]:
    """Everything that needs somebody, the worst first; asks twice more: for imports and for segments."""
    found = [
        *(matter for campaign in coming for matter in _before_sending(campaign, user, now)),
        *(matter for campaign in launched for matter in _after_sending(campaign, now)),
        *_imports(user, now),
        *_segments(now),
    ]
    return sorted(found, key=lambda matter: matter.weight)


def _before_sending(campaign: Any, user: "User", now: datetime) -> Iterator[Matter]:
    page = reverse("campaigns:detail", args=[campaign.pk])
    if campaign.status == Campaign.Status.APPROVAL:
        may_approve = user.has_perm("campaigns.approve_campaign") and campaign.requested_by_id != user.pk
        problem = _("“{name}” waits for your approval") if may_approve else _("“{name}” waits for approval")
        yield Matter(
            WARN,
            "hourglass",
            problem.format(name=campaign.name),
            _("{colleague} wants it sent on {when}; until then nothing goes out.").format(
                colleague=campaign.requested_by or _("A colleague"), when=_moment(campaign.send_at)
            ),
            _("Approve") if may_approve else _("Open"),
            reverse("campaigns:approve", args=[campaign.pk]) if may_approve else page,
            posts=may_approve,
        )
    elif campaign.status == Campaign.Status.SCHEDULED and campaign.send_at < now - START_BY:
        yield Matter(
            BAD,
            "clock",
            _("“{name}” has not started").format(name=campaign.name),
            _("Its hour was {when}: is the background worker running?").format(
                when=_moment(campaign.send_at)
            ),
            _("Open"),
            page,
        )
    elif campaign.status == Campaign.Status.DRAFT and campaign.send_at < now + timedelta(days=DRAFT_DAYS):
        may_change = user.has_perm("campaigns.change_campaign")
        late = campaign.send_at <= now
        consequence = (
            _("Its hour was {when}; it was not sent.")
            if late
            else _("Its hour is {when}; a draft is not sent.")
        )
        yield Matter(
            BAD if late else WARN,
            "pencil",
            _("“{name}” is still a draft").format(name=campaign.name),
            consequence.format(when=_moment(campaign.send_at)),
            _("Finish") if may_change else _("Open"),
            reverse("campaigns:review", args=[campaign.pk]) if may_change else page,
        )


def _after_sending(campaign: Launched, now: datetime) -> Iterator[Matter]:
    if campaign.planned_at < now - timedelta(days=LAUNCHED_DAYS):
        return
    people = reverse("campaigns:people", args=[campaign.pk])
    if campaign.status == Campaign.Status.PAUSED:
        yield Matter(
            WARN,
            "player-pause",
            _("“{name}” is paused").format(name=campaign.name),
            _waiting(campaign.waiting),
            _("Open"),
            reverse("campaigns:detail", args=[campaign.pk]),
        )
    if campaign.failed:
        text = ngettext(
            "{count} message of “{name}” failed", "{count} messages of “{name}” failed", campaign.failed
        )
        yield Matter(
            BAD,
            "alert-triangle",
            text.format(count=num(campaign.failed), name=campaign.name),
            _("These people did not get it, and nobody tries again."),
            _("Who?"),
            f"{people}?status=failed",
        )
    if campaign.unknown:
        yield Matter(
            WARN,
            "help",
            ngettext(
                "The fate of {count} message of “{name}” is unknown",
                "The fate of {count} messages of “{name}” is unknown",
                campaign.unknown,
            ).format(count=num(campaign.unknown), name=campaign.name),
            _("The provider's answer was lost; they may have arrived."),
            _("Who?"),
            f"{people}?status=unknown",
        )
    if campaign.arrived + campaign.bounced >= BOUNCES_FROM and campaign.bounce_rate > TOO_MANY_BOUNCES:
        yield Matter(
            BAD,
            "mail-x",
            _("{share} of “{name}” came back").format(
                share=percent(campaign.bounce_rate), name=campaign.name
            ),
            _("Above {limit}, mail providers begin to distrust the sender.").format(
                limit=percent(TOO_MANY_BOUNCES, 0)
            ),
            _("Who?"),
            f"{people}?status=bounced",
        )


def _waiting(count: int) -> str:
    text = ngettext("{count} message waits.", "{count} messages wait.", count)
    return text.format(count=num(count))


def _imports(user: "User", now: datetime) -> Iterator[Matter]:
    """Files of late that came in with gaps or not at all, for those who may bring files."""
    if not user.has_perm("customers.import_customer"):
        return
    failed = Q(status=ImportJob.Status.FAILED) | Q(status=ImportJob.Status.DONE, rejected__gt=0)
    for job in ImportJob.objects.filter(failed, finished_at__gte=now - timedelta(days=IMPORT_DAYS))[:5]:
        page = reverse("customers:import_job", args=[job.pk])
        if job.status == ImportJob.Status.FAILED:
            problem = _("{file} was not imported to the end").format(file=job.file_name)
            yield Matter(BAD, "file-import", problem, job.error, _("Open"), page)
            continue
        text = ngettext(
            "{count} row of {file} was refused", "{count} rows of {file} were refused", job.rejected
        )
        consequence = _("They are missing until they are mended and brought again.")
        yield Matter(
            INFO,
            "file-import",
            text.format(count=num(job.rejected), file=job.file_name),
            consequence,
            _("Mend"),
            page,
        )


def _segments(now: datetime) -> Iterator[Matter]:
    """Segments whose figures cannot be trusted, together when there are several."""
    in_vain = Q(count_failed_at__isnull=False)
    old = Q(counted_at=None, created_at__lt=now - OLD_COUNT) | Q(counted_at__lt=now - OLD_COUNT)
    found = list(Segment.objects.active().filter(in_vain | old).order_by("name")[:50])
    failed = [segment for segment in found if segment.count_failed_at]
    stale = [segment for segment in found if not segment.count_failed_at]
    if failed:
        text = ngettext("{names} could not be counted", "{names} could not be counted", len(failed))
        yield Matter(
            BAD,
            "stack-2",
            text.format(names=_names(failed)),
            _("A campaign to these people may not start. Make the rules narrower."),
            _("Open"),
            _segment_page(failed),
        )
    if stale:
        yield Matter(
            WARN,
            "stack-2",
            ngettext("The figures of {names} are old", "The figures of {names} are old", len(stale)).format(
                names=_names(stale)
            ),
            _("They were not counted for a day: is the background worker running?"),
            _("Open"),
            _segment_page(stale),
        )


def _names(segments: Sequence[Segment]) -> str:
    if len(segments) == 1:
        return f"“{segments[0].name}”"
    text = ngettext("{count} segment", "{count} segments", len(segments))
    return text.format(count=num(len(segments)))


def _segment_page(segments: Sequence[Segment]) -> str:
    return (
        reverse("segments:detail", args=[segments[0].pk]) if len(segments) == 1 else reverse("segments:list")
    )


def _moment(at: datetime) -> str:
    return date_format(localtime(at), "SHORT_DATETIME_FORMAT")
