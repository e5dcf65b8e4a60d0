"""Watches the demo's campaign go out, and says in plain words what became of everybody."""

import time
from datetime import timedelta

from django.core.management.base import OutputWrapper
from django.db import connection
from django.utils.timezone import now

from campaigns.models import Campaign, Message
from campaigns.results import Results, count_results

from .prepare import Story, count_mails
from .retailer import COLLEAGUES, PASSWORD

PATIENCE = timedelta(seconds=120)
REPORTS = timedelta(seconds=12)  # How long text messages may take to be reported after the last left.
COLUMNS = (("sent", "sent"), ("delivered", "delivered"), ("bounced", "bounced"), ("failed", "failed"))


def tell(story: Story, port: int, stdout: OutputWrapper) -> None:
    """Wait for the campaign, two minutes at most, and print its figures, the address and the logins."""
    try:
        campaign = _watch(story)
        results = count_results(campaign)
        stdout.write("\n".join(["", *_figures(results, story), "", *_entrance(campaign, port), ""]))
        stdout.flush()
    finally:
        connection.close()


def _watch(story: Story) -> Campaign:
    """The campaign once it is sent and its reports are in, or when patience ends."""
    give_up = now() + PATIENCE
    while True:
        campaign = Campaign.objects.select_related("brand").get(pk=story.campaign_id)
        if campaign.finished_at and (_is_reported(campaign) or now() > campaign.finished_at + REPORTS):
            return campaign
        if now() > give_up:
            return campaign
        time.sleep(0.5)


def _is_reported(campaign: Campaign) -> bool:
    return not campaign.messages.filter(channel="sms", status=Message.Status.SENT).exists()


def _figures(results: Results, story: Story) -> list[str]:
    campaign = results.campaign
    lines = [
        f"“{campaign.name}” went to {results.people:,} people on {len(results.channels)} channels.",
        *_state(results),
        "",
        *_table(results),
        "",
        "Held back, and why:",
        *_reasons(results),
        "",
        f"{count_mails() - story.mails_before:,} mails lie in var/mail; no message left this machine.",
    ]
    if not campaign.respect_quiet_hours:
        lines.append("It keeps no quiet hours, so that the demo can be watched at night; others do.")
    return lines


def _state(results: Results) -> list[str]:
    campaign = results.campaign
    if campaign.finished_at and campaign.send_at:
        seconds = (campaign.finished_at - campaign.send_at).total_seconds()
        return [f"Everything had left {seconds:.0f} seconds after its hour."]
    if campaign.planned_at is None:
        return ["It has not started: its hour has come, but no worker has picked it up. See the lines above."]
    waiting = campaign.messages.filter(status__in=["planned", "leased", "sending"])
    why = sorted(
        {str(Message.Reason(reason).label) for reason in waiting.values_list("reason", flat=True) if reason}
    )
    return [
        f"After two minutes {waiting.count():,} messages still wait"
        + (f": {'; '.join(why).lower()}." if why else " for their turn.")
    ]


def _table(results: Results) -> list[str]:
    """One row per channel, numbers under their headings."""
    heads = ["", "audience", *(head for _group, head in COLUMNS), "unknown", "waiting", "held back"]
    rows = [heads]
    for figures in results.channels:
        groups = figures.groups
        rows.append(
            [Message(channel=figures.channel).get_channel_display(), f"{figures.audience:,}"]
            + [f"{groups[group]:,}" for group, _head in COLUMNS]
            + [f"{groups['unknown']:,}", f"{groups['waiting']:,}", f"{groups['held']:,}"]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _reasons(results: Results) -> list[str]:
    lines = []
    for figures in results.channels:
        channel = Message(channel=figures.channel).get_channel_display()
        for reason, count in sorted(figures.reasons.items(), key=lambda item: -item[1]):
            lines.append(f"  {channel:<6} {count:>6,}  {Message.Reason(reason).label}")
    return lines or ["  nobody"]


def _entrance(campaign: Campaign, port: int) -> list[str]:
    width = max(len(colleague.email) for colleague in COLLEAGUES)
    return [
        f"The same figures: http://localhost:{port}/campaigns/{campaign.pk}/",
        f"OmniCRM:          http://localhost:{port}/",
        "",
        f"Sign in with any of these, password {PASSWORD}:",
        *(f"  {c.email:<{width}}  {c.name}, {_role(c.role)}" for c in COLLEAGUES),
        "",
        "Ctrl-C stops everything.",
    ]


def _role(role: str) -> str:
    from core.roles import Role

    return str(Role(role).label).lower()
