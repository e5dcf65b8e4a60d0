"""When a campaign goes out, as the wizard asks it."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.utils.dates import WEEKDAYS_ABBR
from django.utils.timezone import localdate, now
from django.utils.translation import gettext_lazy as _
from django_celery_beat.models import CrontabSchedule

from .models import Campaign
from .occurrences import is_too_late, walls_after
from .walls import Cron, NotCron, wall_of, zone_names
from .words import EVERY_DAY, EVERY_MONTH, EVERY_MONTH_DAY, cron_line

NOW, LATER, LOCAL, STORE, BEST, REPEAT = "now", "later", "local", "store", "best", "repeat"
DAY, WEEK, MONTH, LINE = "day", "week", "month", "line"


def in_our_time(moment: date) -> None:
    """Refuse years no clock of ours can work with."""
    if not 2000 <= moment.year <= 2100:
        raise forms.ValidationError(_("Choose a year between 2000 and 2100."))


@dataclass(frozen=True)
class Option:
    """One way of scheduling, as the wizard shows it."""

    value: str
    icon: str
    colour: str
    title: Any
    detail: Any


OPTIONS = (
    Option(
        NOW,
        "rocket",
        "ok",
        _("As soon as it is launched"),
        _("After the review, and the approval if one is needed"),
    ),
    Option(LATER, "calendar-time", "email", _("At a time"), _("Everybody at the same moment")),
    Option(
        LOCAL,
        "world",
        "web",
        _("On each person's own clock"),
        _("The same hour for everybody, where they live"),
    ),
    Option(
        STORE,
        "building-store",
        "store",
        _("On the store's clock"),
        _("The same hour at each person's home store"),
    ),
    Option(
        BEST, "sparkles", "push", _("At each person's best hour"), _("When they open, click and buy the most")
    ),
    Option(REPEAT, "refresh", "sms", _("Repeating"), _("Every day, every week, every month")),
)


class ScheduleForm(forms.Form):
    """When to send; only the questions of the chosen way are asked. Instants are on the house's clock.

    Once valid, `fields` are those of the campaign, and `repeat` the schedule of a series, unsaved, or None.
    """

    when = forms.ChoiceField(choices=[(option.value, option.title) for option in OPTIONS])
    send_at = forms.DateTimeField(label=_("Send at"), required=False, validators=[in_our_time])
    expires_at = forms.DateTimeField(
        label=_("Expires at"),
        required=False,
        validators=[in_our_time],
        help_text=_("Nothing is sent after this, even if something was late. Leave empty for no end."),
    )
    day = forms.DateField(label=_("Day"), required=False, validators=[in_our_time])
    at = forms.TimeField(label=_("Time"), required=False)
    every = forms.ChoiceField(
        label=_("Repeats"),
        required=False,
        choices=[
            (DAY, _("Every day")),
            (WEEK, _("Every week")),
            (MONTH, _("Every month")),
            (LINE, _("By a line of cron")),
        ],
    )
    weekdays = forms.TypedMultipleChoiceField(
        label=_("On these days"),
        required=False,
        coerce=int,
        choices=[((day + 1) % 7, WEEKDAYS_ABBR[day]) for day in range(7)],
    )
    month_day = forms.IntegerField(
        label=_("Day of the month"),
        required=False,
        min_value=1,
        max_value=31,
        help_text=_("Months that do not have it are left out."),
    )
    line = forms.CharField(
        label=_("Line of cron"),
        required=False,
        max_length=200,
        help_text=_("Minute, hour, day of the month, month, day of the week. All of them must match."),
    )
    repeat_at = forms.TimeField(label=_("At"), required=False)
    repeat_clock = forms.ChoiceField(
        label=_("On whose clock"), required=False, choices=Campaign.Clock.choices
    )
    zone = forms.CharField(label=_("Time zone"), required=False, max_length=50)
    begins = forms.DateField(
        label=_("Begins"),
        required=False,
        validators=[in_our_time],
        help_text=_("Leave empty to begin at once."),
    )
    until = forms.DateField(
        label=_("Until"), required=False, validators=[in_our_time], help_text=_("Leave empty for no end.")
    )
    expire_hours = forms.IntegerField(
        label=_("At most this many hours late"),
        required=False,
        min_value=1,
        max_value=720,
        help_text=_("What is held up for longer than this is not sent at all."),
    )
    throttle_per_hour = forms.IntegerField(
        label=_("At most this many messages an hour"),
        required=False,
        min_value=1,
        max_value=10_000_000,
        help_text=_("Leave empty to send as fast as possible."),
    )
    respect_quiet_hours = forms.BooleanField(label=_("Respect quiet hours"), required=False)

    def __init__(self, *args: Any, campaign: Campaign, **kwargs: Any) -> None:
        super().__init__(*args, **{"initial": initial_of(campaign), **kwargs})
        self.campaign = campaign
        self.fields_of_campaign: dict[str, Any] = {}
        self.repeat: CrontabSchedule | None = None
        for name in ("send_at", "expires_at"):
            widget = forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
            self.fields[name].widget = widget
        for name in ("day", "begins", "until"):
            self.fields[name].widget = forms.DateInput({"type": "date"}, format="%Y-%m-%d")
        for name in ("at", "repeat_at"):
            self.fields[name].widget = forms.TimeInput({"type": "time"}, format="%H:%M")
        self.fields["zone"].widget.attrs |= {"list": "timezones", "autocomplete": "off"}
        self.fields["line"].widget.attrs |= {"class": "mono", "placeholder": "0 10 * * 1-5"}
        self.fields["respect_quiet_hours"].widget.attrs["class"] = "switch"

    # --- asking ---------------------------------------------------------------------------------

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        when = cleaned.get("when", NOW)
        fields: dict[str, Any] = {
            "clock": Campaign.Clock.MOMENT,
            "send_at": None,
            "wall_date": None,
            "wall_time": None,
            "repeat_until": None,
            "expires_at": None if when == REPEAT else cleaned.get("expires_at"),
        }
        fields["throttle_per_hour"] = cleaned.get("throttle_per_hour")
        fields["expire_hours"] = cleaned.get("expire_hours") or self.campaign.expire_hours
        fields["respect_quiet_hours"] = cleaned.get("respect_quiet_hours", False)
        if when == LATER:
            fields |= self._later(cleaned)
        elif when in (LOCAL, STORE, BEST):
            fields |= self._on_a_day(cleaned, when)
        elif when == REPEAT:
            fields |= self._repeating(cleaned)
        self.fields_of_campaign = fields
        if not self.errors:
            self._check(when)
        return cleaned

    def clean_zone(self) -> str:
        zone: str = self.cleaned_data["zone"].strip()
        if zone and zone not in zone_names():
            raise forms.ValidationError(_("Choose a time zone of the list, such as Europe/Rome."))
        return zone

    def _later(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        send_at: datetime | None = cleaned.get("send_at")
        if not send_at and "send_at" not in self.errors:
            self.add_error("send_at", _("Choose the day and the hour."))
        elif send_at and send_at <= now():
            self.add_error("send_at", _("This time has passed. Choose one in the future."))
        return {"send_at": send_at}

    def _on_a_day(self, cleaned: dict[str, Any], when: str) -> dict[str, Any]:
        if not cleaned.get("day") and "day" not in self.errors:
            self.add_error("day", _("Choose the day."))
        if when != BEST and not cleaned.get("at") and "at" not in self.errors:
            self.add_error("at", _("Choose the hour."))
        return {
            "clock": when,
            "wall_date": cleaned.get("day"),
            "wall_time": None if when == BEST else cleaned.get("at"),
        }

    def _repeating(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        clock = cleaned.get("repeat_clock") or Campaign.Clock.MOMENT
        line = self._line(cleaned, clock)
        if line and not self.errors:
            minute, hour, month_day, month, week_day = line
            self.repeat = CrontabSchedule(
                minute=minute,
                hour=hour,
                day_of_month=month_day,
                month_of_year=month,
                day_of_week=week_day,
                timezone=cleaned.get("zone") or self.campaign.brand.timezone,
            )
        begins, until = cleaned.get("begins"), cleaned.get("until")
        if begins and until and until < begins:
            self.add_error("until", _("It would end before it begins."))
        return {"clock": clock, "wall_date": begins, "repeat_until": until}

    def _line(self, cleaned: dict[str, Any], clock: str) -> list[str] | None:
        """The five fields of cron the questions mean; None when one is left open."""
        every = cleaned.get("every") or DAY
        if every == LINE:
            return self._written_line(cleaned)
        at: time | None = time() if clock == Campaign.Clock.BEST else cleaned.get("repeat_at")
        if at is None:
            if "repeat_at" not in self.errors:
                self.add_error("repeat_at", _("Choose the hour."))
            return None
        hour = [str(at.minute), str(at.hour)]
        if every == WEEK:
            if not cleaned.get("weekdays"):
                self.add_error("weekdays", _("Choose at least one day."))
                return None
            return [*hour, "*", "*", ",".join(map(str, sorted(cleaned["weekdays"])))]
        if every == MONTH:
            if not cleaned.get("month_day"):
                if "month_day" not in self.errors:
                    self.add_error("month_day", _("Choose the day of the month."))
                return None
            return [*hour, str(cleaned["month_day"]), "*", "*"]
        return [*hour, "*", "*", "*"]

    def _written_line(self, cleaned: dict[str, Any]) -> list[str] | None:
        line: list[str] = cleaned.get("line", "").lower().split()
        if len(line) != 5 or max(map(len, line)) > 60:
            self.add_error("line", _("Write five fields, as in “0 10 * * 1-5”."))
            return None
        try:
            Cron.parse(*line)
        except NotCron as error:
            self.add_error("line", str(error))
            return None
        return line

    def _check(self, when: str) -> None:
        """Refuse what nobody would ever get."""
        campaign, at = self.applied(), now()
        if campaign.expires_at and campaign.expires_at <= max(campaign.send_at or at, at):
            self.add_error("expires_at", _("The campaign would expire before it is sent."))
        if when in (LOCAL, STORE, BEST):
            wall = datetime.combine(campaign.wall_date, campaign.wall_time or time())  # type: ignore[arg-type]
            if is_too_late(campaign, wall, at):
                self.add_error("day", _("This day is over everywhere. Choose one in the future."))
        if when == REPEAT and next(walls_after(campaign, wall_of(at, campaign.brand.timezone)), None) is None:
            self.add_error("until", _("No day is left until then."))

    # --- answering ------------------------------------------------------------------------------

    def applied(self) -> Campaign:
        """The campaign as it would be, not saved."""
        campaign = Campaign.objects.select_related("brand").get(pk=self.campaign.pk)
        for name, value in self.fields_of_campaign.items():
            setattr(campaign, name, value)
        campaign.crontab = self.repeat
        return campaign


def initial_of(campaign: Campaign) -> dict[str, Any]:
    """The answers a campaign's schedule stands for."""
    initial: dict[str, Any] = {
        "when": _way_of(campaign),
        "send_at": campaign.send_at,
        "expires_at": campaign.expires_at,
        "day": campaign.wall_date or localdate() + timedelta(days=1),
        "at": campaign.wall_time or time(10),
        "every": WEEK,
        "weekdays": [1],
        "month_day": 1,
        "repeat_at": time(10),
        "repeat_clock": campaign.clock,
        "zone": campaign.brand.timezone or settings.TIME_ZONE,
        "expire_hours": campaign.expire_hours,
        "throttle_per_hour": campaign.throttle_per_hour,
        "respect_quiet_hours": campaign.respect_quiet_hours,
    }
    return initial | (_repeat_of(campaign, campaign.crontab) if campaign.crontab else {})


def _way_of(campaign: Campaign) -> str:
    if campaign.crontab:
        return REPEAT
    if campaign.clock != Campaign.Clock.MOMENT:
        return campaign.clock
    return LATER if campaign.send_at else NOW


def _repeat_of(campaign: Campaign, schedule: CrontabSchedule) -> dict[str, Any]:
    cron = Cron.of(schedule)
    every = LINE
    if cron.months == EVERY_MONTH and len(cron.hours) == 1:
        if cron.month_days == EVERY_MONTH_DAY:
            every = DAY if cron.week_days == EVERY_DAY else WEEK
        elif len(cron.month_days) == 1 and cron.week_days == EVERY_DAY:
            every = MONTH
    return {
        "every": every,
        "weekdays": sorted(cron.week_days),
        "month_day": min(cron.month_days),
        "repeat_at": time(min(cron.hours), min(cron.minutes)),
        "line": cron_line(schedule),
        "zone": str(schedule.timezone),
        "begins": campaign.wall_date,
        "until": campaign.repeat_until,
    }
