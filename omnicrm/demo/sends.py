"""Casa Ontano's campaigns: those to come through their verbs, the past ones with the clock turned back."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pghistory
from django.db import transaction
from django_celery_beat.models import CrontabSchedule

from campaigns import outcome, services
from campaigns.models import Brand, Campaign
from core.models import User
from segments.models import Segment

from . import segments as s
from . import texts
from .past import move_into_the_past
from .texts import Text

ROME = ZoneInfo("Europe/Rome")
LEAD_SECONDS = 8
FIRST_LOOK = "First look at the new arrivals"


@dataclass(frozen=True)
class Plan:
    """A campaign: what, to whom, when in days from now, and how readily people follow it (per mille)."""

    name: str
    texts: Iterable[Text]
    include: str
    exclude: str = ""
    days: int = 0
    at: time = time(10, 30)
    goal: str = Campaign.Goal.ORDERS
    target: int = 0
    clicked: int = 60
    left: int = 6
    held_out: int = 0  # In percent.

    def moment(self, now: datetime) -> datetime:
        """The hour on that day in Rome."""
        return datetime.combine(now.astimezone(ROME).date() + timedelta(days=self.days), self.at, tzinfo=ROME)


PAST = (
    Plan(
        "Linen, straight from Biella", texts.LINEN, s.READERS, days=-130, target=150, clicked=70, held_out=5
    ),
    Plan(
        "The repair workshop opens",
        texts.REPAIRS,
        s.ELSEWHERE,
        days=-86,
        at=time(18),
        target=40,
        clicked=34,
        left=14,
    ),
    Plan(
        "Late opening at Porta Venezia", texts.LATE_OPENING, s.MILANO, days=-52, target=30, clicked=95, left=4
    ),
    Plan(
        "Wool preview for VIPs",
        texts.PREVIEW,
        s.VIP,
        s.PRESS,
        days=-24,
        at=time(9),
        goal=Campaign.Goal.REVENUE,
        target=15_000,
        clicked=120,
        left=3,
    ),
)
FOR_APPROVAL = Plan("Winter letter to all readers", texts.LINEN, s.READERS, days=3, target=200, held_out=5)
NEXT_WEEK = Plan("Mending Saturday", texts.MENDING, s.MILANO, s.CALLED, days=6, at=time(17), target=25)
GIFT_IDEAS = Plan("Gift ideas under 50 €", texts.GIFTS, "", days=1, at=time(9, 30), target=100)
LETTER = Plan("The Saturday letter", texts.LETTER, s.READERS, s.CALLED, target=40)
CANDLES = Plan(
    "Candles for the first cold evening", texts.CANDLES, s.RECENT, days=2, at=time(18, 30), target=30
)
MAIN = Plan(FIRST_LOOK, texts.FIRST_LOOK, s.RECENT, s.CALLED, target=60)


def send_in_the_past(
    plan: Plan, brand: Brand, groups: dict[str, Segment], *, by: User, approver: User, now: datetime
) -> Campaign:
    """A campaign as if it had been sent on its day; one that exists already is left alone."""
    if found := Campaign.objects.filter(name=plan.name).first():
        return found
    with transaction.atomic(), pghistory.context(user=by.pk, url="make demo"):
        campaign = _write(plan, brand, groups, by=by)
        campaign = services.schedule_campaign(campaign.pk, send_at=None, by=by)
        if campaign.status == Campaign.Status.APPROVAL:
            services.approve_campaign(campaign.pk, by=approver)
        while (launched := services.launch_next()) and launched.pk != campaign.pk:
            pass
        at = plan.moment(now)
        move_into_the_past(campaign.pk, name=plan.name, at=at, clicked=plan.clicked, left=plan.left)
        if plan.held_out:
            outcome.count_outcome(campaign)
    return campaign


def plan_the_coming(
    brand: Brand, groups: dict[str, Segment], *, by: User, approver: User, now: datetime
) -> None:
    """One campaign that waits for the approver, one scheduled for next week, one for everybody's own evening,
    a letter that comes every Saturday, and a draft short of time.
    """
    for plan, asker in ((FOR_APPROVAL, by), (NEXT_WEEK, approver)):
        if not Campaign.objects.filter(name=plan.name).exists():
            with pghistory.context(user=asker.pk, url="make demo"):
                campaign = _write(plan, brand, groups, by=asker)
                services.schedule_campaign(campaign.pk, send_at=plan.moment(now), by=asker)
    if not Campaign.objects.filter(name=GIFT_IDEAS.name).exists():
        with pghistory.context(user=by.pk, url="make demo"):
            draft = _write(GIFT_IDEAS, brand, groups, by=by)
            services.update_campaign(draft.pk, send_at=GIFT_IDEAS.moment(now), by=by)
    _schedule(CANDLES, brand, groups, by=approver, **_evening(CANDLES, now))
    _schedule(LETTER, brand, groups, by=by, clock=Campaign.Clock.BEST, repeat=_saturdays())
    for letter in Campaign.objects.filter(name=LETTER.name, status=Campaign.Status.APPROVAL):
        services.approve_campaign(letter.pk, by=approver)


def _schedule(plan: Plan, brand: Brand, groups: dict[str, Segment], *, by: User, **schedule: Any) -> None:
    """Write a campaign and let it go as its own clock and series say, unless it exists."""
    if Campaign.objects.filter(name=plan.name).exists():
        return
    with pghistory.context(user=by.pk, url="make demo"):
        campaign = _write(plan, brand, groups, by=by)
        services.set_schedule(campaign.pk, by=by, **schedule)
        services.schedule_campaign(campaign.pk, send_at=None, by=by)


def _evening(plan: Plan, now: datetime) -> dict[str, Any]:
    return {
        "clock": Campaign.Clock.LOCAL,
        "wall_date": plan.moment(now).date(),
        "wall_time": plan.at,
    }


def _saturdays() -> CrontabSchedule:
    return CrontabSchedule(
        minute="0", hour="0", day_of_week="6", day_of_month="*", month_of_year="*", timezone=ROME.key
    )


def send_first_look(brand: Brand, groups: dict[str, Segment], *, by: User, now: datetime) -> Campaign:
    """The campaign to watch, due in some seconds, at any hour of the night: nobody real is woken."""
    with pghistory.context(user=by.pk, url="make demo"):
        earlier = Campaign.objects.filter(name__startswith=FIRST_LOOK).count()
        name = f"{FIRST_LOOK}, no. {earlier + 1}" if earlier else FIRST_LOOK
        campaign = _write(MAIN, brand, groups, by=by, name=name, respect_quiet_hours=False)
        return services.schedule_campaign(campaign.pk, send_at=now + timedelta(seconds=LEAD_SECONDS), by=by)


def _write(
    plan: Plan, brand: Brand, groups: dict[str, Segment], *, by: User, name: str = "", **fields: object
) -> Campaign:
    """A draft with its audience and texts."""
    campaign = services.create_campaign(
        name=name or plan.name,
        brand=brand,
        by=by,
        goal=plan.goal,
        goal_target=plan.target,
        holdout_percent=plan.held_out,
        **fields,
    )
    if plan.include:
        exclude = [groups[plan.exclude]] if plan.exclude else []
        services.set_audience(campaign.pk, include=[groups[plan.include]], exclude=exclude, by=by)
    senders = {sender.channel: sender for sender in brand.senders.all()}
    for text in plan.texts:
        services.save_content(
            campaign.pk,
            channel=text.channel,
            language=text.language,
            by=by,
            sender=senders[text.channel],
            subject=text.subject,
            preheader=text.preheader,
            heading=text.heading,
            body=text.body,
            button_label=text.button_label,
            button_url=text.button_url,
        )
    campaign.refresh_from_db()
    return campaign
