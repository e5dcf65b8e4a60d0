"""The life of a campaign: written, scheduled, approved, launched, paused, finished."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import structlog
from django.db import OperationalError, connection, transaction
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django_celery_beat.models import CrontabSchedule
from psycopg.errors import QueryCanceled

from core.doorbell import ring
from core.errors import DomainError
from core.patience import allow_seconds
from customers import events
from customers.models import Channel, ConsentState, Customer, Event
from customers.services import record_consent

from . import audience, planning, rendering
from .channels import CHANNELS
from .checks import problems
from .models import Brand, Campaign, Content, Link, Message, Occurrence
from .occurrences import next_wall, put_pending, start_of, take_due, wall_time_of, walls_after
from .templates import check

if TYPE_CHECKING:
    from core.models import User

log = structlog.get_logger(__name__)

# A campaign with nothing left to send is sent, or waits for its next occurrence. Uses message_waiting and
# message_leases. The campaigns are locked before their messages are looked at: one that is being planned
# meanwhile is left for the next time.
_FINISH = """
UPDATE campaigns_campaign AS campaign SET status = fate.status, finished_at = fate.finished_at
FROM (
    SELECT sending.id, CASE WHEN pending.id IS NULL THEN 'sent' ELSE 'scheduled' END AS status,
           CASE WHEN pending.id IS NULL THEN now() END AS finished_at
    FROM campaigns_campaign AS sending
    LEFT JOIN campaigns_occurrence AS pending
        ON pending.campaign_id = sending.id AND pending.state = 'pending'
    WHERE sending.id = ANY(%(ids)s) AND NOT EXISTS (
        SELECT 1 FROM campaigns_message WHERE campaign_id = sending.id AND status = 'planned')
    AND NOT EXISTS (
        SELECT 1 FROM campaigns_message
        WHERE campaign_id = sending.id AND status IN ('leased', 'sending'))
) AS fate
WHERE campaign.id = fate.id
"""


class NotEditable(DomainError):
    """The campaign has left the house."""


class Busy(DomainError):
    """The campaign is being planned, which takes a minute for a million people."""


class NotReady(DomainError):
    """Something is missing before it may be sent; the message lists what."""


# --- writing ------------------------------------------------------------------------------------


@transaction.atomic
def create_campaign(*, name: str, brand: Brand, by: "User", **fields: Any) -> Campaign:
    """A draft."""
    return Campaign.objects.create(name=name, brand=brand, created_by=by, **fields)


@transaction.atomic
def update_campaign(campaign_id: int, *, by: "User", **fields: Any) -> Campaign:
    """Change the campaign's own fields; an approval is lost with any edit.

    Who is held out of a series stays held out of it: their share is fixed once it has gone out.
    """
    campaign = _lock_for_edit(campaign_id)
    if (
        campaign.planned_at
        and fields.get("holdout_percent", campaign.holdout_percent) != campaign.holdout_percent
    ):
        raise NotEditable(_("The share of people held out is fixed once a campaign has gone out."))
    for name, value in fields.items():
        setattr(campaign, name, value)
    return _save_edit(campaign, *fields)


@transaction.atomic
def set_audience(campaign_id: int, *, include: Iterable[Any], exclude: Iterable[Any], by: "User") -> Campaign:
    """Choose whom to send to: segments to include, and segments nobody of whom gets it."""
    campaign = _lock_for_edit(campaign_id)
    campaign.include.set(include)
    campaign.exclude.set(exclude)
    return _save_edit(campaign)


@transaction.atomic
def set_schedule(
    campaign_id: int, *, repeat: CrontabSchedule | None = None, by: "User", **fields: Any
) -> Campaign:
    """Choose when it goes out: fields of the campaign, and for a series how it repeats."""
    campaign = _lock_for_edit(campaign_id)
    for name, value in fields.items():
        setattr(campaign, name, value)
    campaign.crontab = _stored(repeat) if repeat else None
    return _save_edit(campaign)


@transaction.atomic
def save_content(campaign_id: int, *, channel: str, language: str, by: "User", **fields: Any) -> Content:
    """Write what one channel says in one language; raises TemplateProblem for a text that cannot be sent."""
    campaign = _lock_for_edit(campaign_id)
    for name in ("subject", "preheader", "heading", "body", "button_label"):
        check(fields.get(name, ""))
    content, _created = Content.objects.update_or_create(
        campaign=campaign, channel=channel, language=language, defaults=fields
    )
    _save_edit(campaign)
    return content


@transaction.atomic
def remove_content(campaign_id: int, *, channel: str, language: str, by: "User") -> None:
    """Take a channel's text in one language out of the campaign."""
    campaign = _lock_for_edit(campaign_id)
    contents = campaign.contents.filter(channel=channel, language=language)
    if Message.objects.filter(campaign=campaign, content__in=contents).exists():
        raise NotEditable(_("People have had this text, so it stays. Change it, or duplicate the campaign."))
    contents.delete()
    _save_edit(campaign)


@transaction.atomic
def duplicate_campaign(campaign_id: int, *, by: "User") -> Campaign:
    """A new draft with the same audience and texts, unscheduled."""
    source = Campaign.objects.get(pk=campaign_id)
    copy = create_campaign(
        name=_("{name} (copy)").format(name=source.name)[:120],
        brand=source.brand,
        by=by,
        goal=source.goal,
        goal_target=source.goal_target,
        goal_days=source.goal_days,
        respect_quiet_hours=source.respect_quiet_hours,
        expire_hours=source.expire_hours,
        throttle_per_hour=source.throttle_per_hour,
        holdout_percent=source.holdout_percent,
    )
    copy.include.set(source.include.all())
    copy.exclude.set(source.exclude.all())
    for content in source.contents.all():
        content.pk, content.campaign = None, copy
        content.save(force_insert=True)
    return copy


@transaction.atomic
def delete_draft(campaign_id: int, *, by: "User") -> None:
    """Throw a campaign away that was never sent."""
    campaign = _lock(campaign_id)
    if campaign.status != Campaign.Status.DRAFT or campaign.planned_at:
        raise NotEditable(_("Only a draft that never went out can be deleted."))
    campaign.delete()


# --- scheduling ---------------------------------------------------------------------------------


@transaction.atomic
def schedule_campaign(
    campaign_id: int, *, send_at: datetime | None, expires_at: datetime | None = None, by: "User"
) -> Campaign:
    """Let a campaign go out as its clock and its series say, or, for one moment, at `send_at`; None is at
    once. Above the brand's limit it waits for approval, a series once for all its times.

    Raises NotReady with everything that is missing.
    """
    campaign = _lock_for_edit(campaign_id)
    moment = now()
    campaign.send_at = send_at or moment
    campaign.expires_at = None if campaign.crontab else expires_at
    if found := [problem.text for problem in problems(campaign) if problem.blocks]:
        raise NotReady(" ".join(found))
    _put_next(campaign, moment)
    campaign.save()  # The forecast reads the row.
    forecast = audience.kept_forecast(campaign)
    if forecast is None:
        allow_seconds(60)
        forecast = planning.forecast(campaign)
    campaign.occurrences.filter(state=Occurrence.State.PENDING).update(messages=forecast.messages)
    needs_approval = forecast.people > campaign.brand.approval_above
    campaign.status = Campaign.Status.APPROVAL if needs_approval else Campaign.Status.SCHEDULED
    campaign.requested_by = by
    campaign.approved_by, campaign.approved_revision = None, None
    campaign.save()
    if not needs_approval:
        ring("campaigns.tasks.launch_due_campaigns")
    ring("campaigns.tasks.measure_pressure")
    return campaign


@transaction.atomic
def approve_campaign(campaign_id: int, *, by: "User") -> Campaign:
    """Let go what somebody else wants to send; nobody approves their own."""
    campaign = _lock(campaign_id)
    if campaign.status != Campaign.Status.APPROVAL:
        raise DomainError(_("This campaign does not wait for approval."))
    if campaign.requested_by_id == by.pk:
        raise DomainError(_("Another person has to approve what you want to send."))
    if campaign.expires_at and campaign.expires_at <= now():
        raise DomainError(_("The campaign expired while it waited. Choose a new time first."))
    moment = now()
    campaign.send_at = max(campaign.send_at or moment, moment)
    expected = campaign.occurrences.filter(state=Occurrence.State.PENDING).first()
    _put_next(campaign, moment, messages=expected.messages if expected else 0)
    campaign.approved_by, campaign.approved_revision = by, campaign.revision
    campaign.status = Campaign.Status.SCHEDULED
    campaign.save()
    ring("campaigns.tasks.launch_due_campaigns")
    return campaign


@transaction.atomic
def unschedule_campaign(campaign_id: int, *, by: "User") -> Campaign:
    """Back to draft: it will not be sent until it is scheduled again."""
    campaign = _lock(campaign_id)
    if campaign.status not in (Campaign.Status.APPROVAL, Campaign.Status.SCHEDULED):
        raise NotEditable(_("Only a campaign that waits can go back to draft."))
    return _save_edit(campaign)


# --- running ------------------------------------------------------------------------------------


def launch_due(*, at: datetime | None = None) -> int:
    """Plan every occurrence whose hour has come; returns how many. Two beats launch each once."""
    launched = 0
    while launch_next(at=at):
        launched += 1
    return launched


@transaction.atomic
def launch_next(*, at: datetime | None = None) -> Campaign | None:
    """Turn one due occurrence into messages: rows, links, the next occurrence and the state commit together.

    None when nothing is due, or what was due has just been taken by somebody else.
    `at` is the instant it happens, by default what the clock of the database shows.
    """
    at = at or _database_clock()
    campaign = (
        Campaign.objects.due(at)
        .select_for_update(skip_locked=True, of=("self",))
        .select_related("brand", "crontab")
        .order_by("occurrences__launch_at", "pk")
        .first()
    )
    if campaign is None:
        return None
    # Only now, under the lock, is it sure what is due.
    occurrence = take_due(campaign, at)
    if occurrence:
        _launch(campaign, occurrence, at)
    elif not campaign.occurrences.filter(state=Occurrence.State.PENDING).exists():
        campaign.status = Campaign.Status.SENDING  # Its last one was left out: finishing closes it.
        campaign.save(update_fields=["status", "updated_at"])
    return campaign


def _launch(campaign: Campaign, occurrence: Occurrence, at: datetime) -> None:
    for content in campaign.contents.select_related("campaign__brand", "sender"):
        urls = sorted(rendering.links_in(content))
        Link.objects.bulk_create([Link(campaign=campaign, url=url) for url in urls], ignore_conflicts=True)
        Content.objects.filter(pk=content.pk).update(tracked_links=len(urls))
    occurrence.messages = planning.plan_messages(campaign, occurrence, at=at)
    occurrence.state, occurrence.launched_at = Occurrence.State.LAUNCHED, at
    occurrence.save(update_fields=["state", "launched_at", "messages"])
    campaign.status = Campaign.Status.SENDING
    campaign.planned_at = campaign.planned_at or at
    following = next(walls_after(campaign, wall_time_of(occurrence)), None)
    if following and put_pending(campaign, following, messages=occurrence.messages):
        campaign.send_at = start_of(campaign, following)
    campaign.save(update_fields=["status", "planned_at", "send_at", "updated_at"])
    log.info(
        "campaign_planned",
        campaign=campaign.pk,
        occurrence=occurrence.number,
        messages=occurrence.messages,
    )


@transaction.atomic
def finish_campaigns() -> int:
    """Close campaigns with nothing left to send; series wait for their next time. Returns how many."""
    sending = Campaign.objects.filter(status=Campaign.Status.SENDING).select_for_update(skip_locked=True)
    ids = list(sending.order_by("pk").values_list("pk", flat=True))
    with connection.cursor() as cursor:
        cursor.execute(_FINISH, {"ids": ids})
        return cursor.rowcount


@transaction.atomic
def pause_campaign(campaign_id: int, *, by: "User") -> Campaign:
    """Hold what has not left yet; messages already fenced, at most a window per worker, still go.

    A series may be paused between its times as well; what comes due meanwhile follows the rule of delays.
    """
    return _move(campaign_id, _running(campaign_id), Campaign.Status.PAUSED)


@transaction.atomic
def resume_campaign(campaign_id: int, *, by: "User") -> Campaign:
    """Go on sending; whoever has become unreachable meanwhile is held back, and what has become too late."""
    campaign = _move(campaign_id, {Campaign.Status.PAUSED}, Campaign.Status.SENDING)
    ring("campaigns.tasks.launch_due_campaigns")
    return campaign


@transaction.atomic
def cancel_campaign(campaign_id: int, *, by: "User") -> Campaign:
    """Send no more. What has not left is held back as cancelled; what has left stays as it is."""
    allowed = _running(campaign_id) | {Campaign.Status.PAUSED}
    campaign = _move(campaign_id, allowed, Campaign.Status.CANCELLED)
    campaign.finished_at = now()
    campaign.save(update_fields=["finished_at", "updated_at"])
    put_pending(campaign, None)
    Message.objects.filter(campaign=campaign, status=Message.Status.PLANNED).update(
        status=Message.Status.SUPPRESSED, reason=Message.Reason.CANCELLED, settled_at=now()
    )
    return campaign


@transaction.atomic
def end_series(campaign_id: int, *, by: "User") -> Campaign:
    """Repeat no more: what is planned still goes, and then the campaign is sent."""
    campaign = _lock(campaign_id)
    if campaign.crontab_id is None or campaign.status not in _running(campaign_id):
        raise DomainError(_("Only a series that is running can be ended."))
    put_pending(campaign, None)
    campaign.status = Campaign.Status.SENDING  # Finishing closes it when nothing is left.
    campaign.save(update_fields=["status", "updated_at"])
    return campaign


# --- what customers do --------------------------------------------------------------------------


@transaction.atomic
def unsubscribe(message_id: int, *, source: str) -> Message:
    """The person of this message wants no more marketing on its channel; repeating changes nothing."""
    message = Message.objects.select_related("campaign").get(pk=message_id)
    consents = message.customer.consents.filter(channel=message.channel, purpose="marketing")
    Customer.objects.select_for_update().get(pk=message.customer_id)
    if consents.filter(state=ConsentState.REVOKED).exists():
        return message
    record_consent(
        message.customer_id,
        channel=message.channel,
        state=ConsentState.REVOKED,
        source=source,
        evidence=f"message {message.pk}",
    )
    _tell(message, events.MESSAGE_UNSUBSCRIBED, f"{message.pk}:unsubscribed", {})
    return message


@transaction.atomic
def resubscribe(message_id: int) -> Message:
    """The person changed their mind on the page where they unsubscribed."""
    message = Message.objects.select_related("campaign").get(pk=message_id)
    record_consent(
        message.customer_id,
        channel=message.channel,
        state=ConsentState.GRANTED,
        source="unsubscribe page",
        evidence=f"message {message.pk}",
    )
    return message


# --- trying out ---------------------------------------------------------------------------------


def preview(content: Content, customer: Customer | None) -> rendering.Email | str:
    """A content as this customer would read it (with every fallback for None): an Email, or a text.

    Links are the real ones, untracked, and unsubscribing does nothing. Raises TemplateProblem.
    """
    parts = rendering.compile_parts(content, {})
    values = rendering.person_values(customer or Customer(), content.campaign.brand)
    values["unsubscribe_url"] = rendering.public_url("campaigns:unsubscribe", "preview")
    if content.channel == Channel.EMAIL:
        return rendering.fill_email(parts, values)
    return rendering.fill_text(parts, values)


def send_test(content: Content, *, to: str, customer: Customer | None) -> None:
    """Send a content to a colleague as this customer would read it; writes no message row.

    Call it outside a transaction: it talks to the provider. Raises DomainError with the provider's words.
    """
    written = preview(content, customer)
    outcome = CHANNELS[content.channel].send_test(written, content.sender.address, to)
    if outcome:
        raise DomainError(_("The test was not sent: {reason}").format(reason=outcome))


# --- inside -------------------------------------------------------------------------------------


def _lock(campaign_id: int) -> Campaign:
    campaigns = Campaign.objects.select_for_update(of=("self",)).select_related("brand", "crontab")
    try:
        return campaigns.get(pk=campaign_id)
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        raise Busy(_("Its messages are just being planned. Try again in a minute.")) from error


def _lock_for_edit(campaign_id: int) -> Campaign:
    campaign = _lock(campaign_id)
    if not campaign.is_editable:
        raise NotEditable(
            _("This campaign has started, so it can no longer be edited. Duplicate it instead.")
        )
    return campaign


def _save_edit(campaign: Campaign, *fields: str) -> Campaign:
    """Save an edit: the revision grows, and an approval or a schedule made for the old one is void."""
    campaign.revision += 1
    campaign.status = Campaign.Status.DRAFT
    campaign.approved_by, campaign.approved_revision, campaign.requested_by = None, None, None
    campaign.save()
    put_pending(campaign, None)
    return campaign


def _database_clock() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment


def _stored(repeat: CrontabSchedule) -> CrontabSchedule:
    """The stored schedule of the same fields and zone; never one a job of beat uses, which may be edited."""
    names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week", "timezone")
    fields = {name: getattr(repeat, name) for name in names}
    free = CrontabSchedule.objects.filter(periodictask=None, **fields)
    return free.first() or CrontabSchedule.objects.create(**fields)


def _put_next(campaign: Campaign, at: datetime, *, messages: int = 0) -> None:
    """Give a campaign its next occurrence as of now; the caller saves it. Raises NotReady for none left."""
    wall = next_wall(campaign, at)
    if wall is None:
        raise NotReady(_("Its day is over everywhere, or its series has ended. Choose a new one."))
    if campaign.crontab or campaign.clock != Campaign.Clock.MOMENT:
        campaign.send_at = start_of(campaign, wall)
    put_pending(campaign, wall, messages=messages)


def _running(campaign_id: int) -> set[str]:
    """The states in which a campaign runs: a series that has gone out runs between its times too."""
    series = Campaign.objects.filter(pk=campaign_id, crontab__isnull=False).exists()
    return {Campaign.Status.SENDING} | ({Campaign.Status.SCHEDULED} if series else set())


def _move(campaign_id: int, allowed: set[str], to: str) -> Campaign:
    campaign = _lock(campaign_id)
    if campaign.status not in allowed:
        raise DomainError(
            _("A campaign that is “{status}” cannot do that.").format(status=campaign.get_status_display())
        )
    campaign.status = to
    campaign.save(update_fields=["status", "updated_at"])
    return campaign


def _tell(message: Message, name: str, key: str, properties: dict[str, Any]) -> None:
    Event.objects.bulk_create(
        [
            Event(
                customer_id=message.customer_id,
                name=name,
                channel=message.channel,
                source="campaigns",
                key=key,
                properties={
                    "campaign": message.campaign_id,
                    "campaign_name": message.campaign.name,
                    "message": message.pk,
                    **properties,
                },
            )
        ],
        ignore_conflicts=True,
    )
