"""The life of a campaign: written, scheduled, approved, launched, paused, finished."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import structlog
from django.db import connection, transaction
from django.utils.timezone import now
from django.utils.translation import gettext as _

from core.doorbell import ring
from core.errors import DomainError
from customers import events
from customers.models import Channel, ConsentState, Customer, Event
from customers.services import record_consent

from . import planning, rendering
from .channels import CHANNELS
from .checks import problems
from .models import Brand, Campaign, Click, Content, Link, Message
from .templates import check

if TYPE_CHECKING:
    from core.models import User

log = structlog.get_logger(__name__)

# A campaign with nothing left to send is sent. Uses message_open.
_FINISH = """
UPDATE campaigns_campaign AS campaign SET status = 'sent', finished_at = now()
WHERE status = 'sending' AND planned_at IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM campaigns_message
    WHERE campaign_id = campaign.id AND status IN ('planned', 'leased', 'sending'))
"""


class NotEditable(DomainError):
    """The campaign has left the house."""


class NotReady(DomainError):
    """Something is missing before it may be sent; the message lists what."""


# --- writing ------------------------------------------------------------------------------------


@transaction.atomic
def create_campaign(*, name: str, brand: Brand, by: "User", **fields: Any) -> Campaign:
    """A draft."""
    return Campaign.objects.create(name=name, brand=brand, created_by=by, **fields)


@transaction.atomic
def update_campaign(campaign_id: int, *, by: "User", **fields: Any) -> Campaign:
    """Change the campaign's own fields; an approval is lost with any edit."""
    campaign = _lock_for_edit(campaign_id)
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
    campaign.contents.filter(channel=channel, language=language).delete()
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
    if campaign.status != Campaign.Status.DRAFT:
        raise NotEditable(_("Only a draft can be deleted."))
    campaign.delete()


# --- scheduling ---------------------------------------------------------------------------------


@transaction.atomic
def schedule_campaign(
    campaign_id: int, *, send_at: datetime | None, expires_at: datetime | None = None, by: "User"
) -> Campaign:
    """Send at a time, or now when `send_at` is None; above the brand's limit it waits for approval.

    Raises NotReady with everything that is missing.
    """
    campaign = _lock_for_edit(campaign_id)
    campaign.send_at = send_at or now()
    campaign.expires_at = expires_at
    if found := [problem.text for problem in problems(campaign) if problem.blocks]:
        raise NotReady(" ".join(found))
    campaign.save()  # The forecast reads the row.
    people = planning.forecast(campaign).people
    needs_approval = people > campaign.brand.approval_above
    campaign.status = Campaign.Status.APPROVAL if needs_approval else Campaign.Status.SCHEDULED
    campaign.requested_by = by
    campaign.approved_by, campaign.approved_revision = None, None
    campaign.save()
    if not needs_approval:
        ring("campaigns.tasks.launch_due_campaigns")
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


def launch_due() -> int:
    """Plan every campaign whose hour has come; returns how many. Two beats launch each once."""
    launched = 0
    while launch_next():
        launched += 1
    return launched


@transaction.atomic
def launch_next() -> Campaign | None:
    """Turn one due campaign into messages: rows, links and status commit together."""
    campaign = (
        Campaign.objects.due()
        .select_for_update(skip_locked=True, of=("self",))
        .select_related("brand")
        .order_by("send_at", "pk")
        .first()
    )
    if campaign is None:
        return None
    for content in campaign.contents.select_related("campaign__brand", "sender"):
        Link.objects.bulk_create(
            [Link(campaign=campaign, url=url) for url in sorted(rendering.links_in(content))],
            ignore_conflicts=True,
        )
    campaign.status = Campaign.Status.SENDING
    campaign.planned_at = now()
    campaign.save(update_fields=["status", "planned_at", "updated_at"])
    planned = planning.plan_messages(campaign)
    log.info("campaign_planned", campaign=campaign.pk, messages=planned)
    return campaign


def finish_campaigns() -> int:
    """Close campaigns with nothing left to send; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(_FINISH)
        return cursor.rowcount


@transaction.atomic
def pause_campaign(campaign_id: int, *, by: "User") -> Campaign:
    """Hold what has not left yet; messages already fenced, at most a window per worker, still go."""
    return _move(campaign_id, {Campaign.Status.SENDING}, Campaign.Status.PAUSED)


@transaction.atomic
def resume_campaign(campaign_id: int, *, by: "User") -> Campaign:
    """Go on sending; whoever has become unreachable meanwhile is held back."""
    campaign = _move(campaign_id, {Campaign.Status.PAUSED}, Campaign.Status.SENDING)
    ring("campaigns.tasks.launch_due_campaigns")
    return campaign


@transaction.atomic
def cancel_campaign(campaign_id: int, *, by: "User") -> Campaign:
    """Send no more. What has not left is held back as cancelled; what has left stays as it is."""
    campaign = _move(
        campaign_id,
        {Campaign.Status.SENDING, Campaign.Status.PAUSED},
        Campaign.Status.CANCELLED,
    )
    campaign.finished_at = now()
    campaign.save(update_fields=["finished_at", "updated_at"])
    Message.objects.filter(campaign=campaign, status=Message.Status.PLANNED).update(
        status=Message.Status.SUPPRESSED, reason=Message.Reason.CANCELLED, settled_at=now()
    )
    return campaign


# --- what customers do --------------------------------------------------------------------------


@transaction.atomic
def record_click(message_id: int, link_id: int, *, is_machine: bool) -> str:
    """Note that a link was followed; returns the stored address to go to. Raises Link.DoesNotExist."""
    message = Message.objects.select_related("campaign").get(pk=message_id)
    link = Link.objects.get(pk=link_id, campaign=message.campaign_id)
    click = Click.objects.create(message=message, link=link, is_machine=is_machine)
    if not is_machine:
        _tell(message, events.MESSAGE_CLICKED, f"click:{click.pk}", {"url": link.url})
    return link.url


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
    return Campaign.objects.select_for_update(of=("self",)).select_related("brand").get(pk=campaign_id)


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
    return campaign


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
