from datetime import date, datetime, time, timedelta

import pytest
from django.urls import reverse
from django.utils.timezone import localdate, localtime, now
from django_celery_beat.models import CrontabSchedule

from campaigns import pressure, services
from campaigns.calendar import month_around, week_around
from campaigns.models import Campaign, CampaignDay
from campaigns.tests.factories import launch, make_brand, make_campaign
from campaigns.tests.test_schedules import crontab, on, person, series, settle
from campaigns.words import schedule_words
from core.roles import Role
from core.tests.factories import make_user

pytestmark = pytest.mark.django_db
HTMX = {"HTTP_HX_REQUEST": "true"}
TOMORROW = localdate() + timedelta(days=1)


@pytest.fixture
def manager(client):
    user = make_user(role=Role.MARKETING_MANAGER)
    client.force_login(user)
    return user


def schedule_url(campaign: Campaign) -> str:
    return reverse("campaigns:schedule", args=[campaign.pk])


def words_of(client, campaign: Campaign, **answers) -> str:
    url = reverse("campaigns:schedule_words", args=[campaign.pk])
    return " ".join(client.get(url, answers, **HTMX).content.decode().split())


def reload(campaign: Campaign) -> Campaign:
    return Campaign.objects.select_related("brand", "crontab").get(pk=campaign.pk)


# --- the schedule step ------------------------------------------------------------------------------

WEEKLY = {"when": "repeat", "every": "week", "weekdays": ["1", "4"], "repeat_at": "10:00"}
WAYS = [
    ({"when": "now"}, "As soon as it is launched"),
    (
        {"when": "local", "day": "2040-06-01", "at": "10:00"},
        "1 Jun 2040 at 10:00, on each person's own clock",
    ),
    (
        {"when": "store", "day": "2040-06-01", "at": "9:30"},
        "1 Jun 2040 at 09:30, on the clock of each person's store",
    ),
    ({"when": "best", "day": "2040-06-01"}, "1 Jun 2040, at each person's best hour"),
    (WEEKLY, "Every Monday and Thursday at 10:00, time of Rome"),
    (WEEKLY | {"repeat_clock": "local"}, "Every Monday and Thursday at 10:00, on each person's own clock"),
    (
        WEEKLY | {"repeat_clock": "best", "repeat_at": ""},
        "Every Monday and Thursday, at each person's best hour",
    ),
    (
        {
            "when": "repeat",
            "every": "day",
            "repeat_at": "08:15",
            "zone": "Asia/Kolkata",
            "until": "2040-12-31",
        },
        "Every day at 08:15, time of Kolkata, until 31 Dec 2040",
    ),
    (
        {"when": "repeat", "every": "month", "month_day": "29", "repeat_at": "10:00", "begins": "2040-01-01"},
        "On day 29 of every month at 10:00, time of Rome, from 1 Jan 2040",
    ),
    (
        {"when": "repeat", "every": "line", "line": "0 9 1 1,7 *"},
        "As the line of cron “0 9 1 1,7 *” says, time of Rome",
    ),
]


@pytest.mark.parametrize(("answers", "words"), WAYS)
def test_each_way_is_kept_said_in_words_and_asked_again_as_it_was(client, manager, answers, words):
    campaign = make_campaign()
    answer = client.post(schedule_url(campaign), answers)
    assert answer["Location"] == reverse("campaigns:review", args=[campaign.pk])
    assert schedule_words(reload(campaign)) == words

    form = client.get(schedule_url(campaign)).context["form"]
    again = {name: form[name].value() for name in form.fields}
    asked = {name: value for name, value in again.items() if value not in (None, "", False)}
    client.post(schedule_url(campaign), asked)
    assert schedule_words(reload(campaign)) == words


@pytest.mark.parametrize(
    ("answers", "field"),
    [
        ({"when": "never"}, "when"),
        ({"when": "local", "day": "", "at": "10:00"}, "day"),
        ({"when": "local", "day": "2040-06-01", "at": ""}, "at"),
        ({"when": "local", "day": "2020-06-01", "at": "10:00"}, "day"),
        ({"when": "local", "day": "9999-12-31", "at": "10:00"}, "day"),
        ({"when": "best", "day": "0001-01-01"}, "day"),
        ({"when": "later", "send_at": "9999-12-31T10:00"}, "send_at"),
        ({"when": "repeat", "every": "week", "repeat_at": "10:00"}, "weekdays"),
        (WEEKLY | {"weekdays": ["9"]}, "weekdays"),
        (WEEKLY | {"repeat_at": ""}, "repeat_at"),
        (WEEKLY | {"zone": "Mars/Olympus"}, "zone"),
        (WEEKLY | {"until": "2020-01-01"}, "until"),
        (WEEKLY | {"begins": "2040-02-01", "until": "2040-01-01"}, "until"),
        ({"when": "repeat", "every": "month", "repeat_at": "10:00", "month_day": "32"}, "month_day"),
        ({"when": "repeat", "every": "month", "repeat_at": "10:00"}, "month_day"),
        ({"when": "repeat", "every": "line", "line": "0 9 * *"}, "line"),
        ({"when": "repeat", "every": "line", "line": "*/5 9 * * *"}, "line"),
        ({"when": "repeat", "every": "line", "line": "0 9 30 2 *"}, "line"),
        ({"when": "repeat", "every": "line", "line": f"0 9 * * {'1,' * 60}1"}, "line"),
        ({"when": "now", "throttle_per_hour": "0"}, "throttle_per_hour"),
        ({"when": "now", "expire_hours": "9999"}, "expire_hours"),
        ({"when": "now", "expires_at": "2020-01-01T10:00"}, "expires_at"),
    ],
)
def test_an_answer_that_makes_no_sense_is_marked_and_nothing_is_kept(client, manager, answers, field):
    campaign = make_campaign()
    answer = client.post(schedule_url(campaign), answers)
    assert answer.status_code == 422
    assert field in answer.context["form"].errors
    assert 'aria-invalid="true"' in answer.content.decode() or field in ("when", "weekdays")
    assert schedule_words(reload(campaign)) == "As soon as it is launched"
    assert not CrontabSchedule.objects.exists()
    assert words_of(client, campaign, **answers)  # Told as well while typing, and never a 500.


def test_pace_and_delays_are_kept(client, manager):
    campaign = make_campaign()
    client.post(schedule_url(campaign), {"when": "now", "throttle_per_hour": "500", "expire_hours": "48"})
    campaign = reload(campaign)
    assert (campaign.throttle_per_hour, campaign.expire_hours) == (500, 48)
    assert not campaign.respect_quiet_hours


def test_an_edited_series_never_changes_the_schedule_of_a_job_of_beat(client, manager):
    from django_celery_beat.models import PeriodicTask

    job = crontab("0 10 * * 1")
    PeriodicTask.objects.create(name="a job", task="t", crontab=job)
    campaigns = [make_campaign(), make_campaign()]
    for campaign in campaigns:
        client.post(schedule_url(campaign), WEEKLY | {"weekdays": ["1"]})
    ours = {reload(campaign).crontab_id for campaign in campaigns}
    assert len(ours) == 1
    assert job.pk not in ours


def test_the_words_tell_where_it_begins_and_ends_and_for_whom_it_is_too_late(client, manager):
    for zone in ("Pacific/Auckland", "Europe/Rome", "Pacific/Honolulu"):
        person(zone.lower().replace("/", "-"), timezone=zone)
    campaign = make_campaign()
    said = words_of(client, campaign, when="local", day="2040-06-01", at="10:00")
    assert "Across 3 time zones, from 1 Jun 2040, 00:00 (Auckland) to 1 Jun 2040, 22:00 (Honolulu)." in said

    just_now = localtime() - timedelta(hours=1)  # Long over in Auckland, and to come in Honolulu.
    said = words_of(client, campaign, when="local", day=f"{just_now:%Y-%m-%d}", at=f"{just_now:%H:%M}")
    assert "Too late for them: they do not get it" in said


def test_the_words_tell_the_next_five_times_and_the_night_the_clocks_change(client, manager):
    answers = {"when": "repeat", "every": "day", "repeat_at": "02:30", "begins": "2040-03-24"}
    said = words_of(client, make_campaign(), **answers)
    assert "Sunday 25 Mar 2040, 02:30 <small>The clocks skip this hour: it goes out at 03:00.</small>" in said
    assert said.count("<li>") == 5


def test_the_words_tell_when_the_last_message_leaves(client, manager):
    for n in range(20):
        person(f"p{n}")
    answers = {"when": "now", "throttle_per_hour": "1", "expire_hours": "5"}
    said = words_of(client, make_campaign(), **answers)
    assert "At this pace the last message leaves by" in said
    assert "15 messages would become too late" in said


def test_a_campaign_on_everybodys_own_clock_is_reviewed_and_scheduled(client, manager):
    person("ada")
    campaign = make_campaign()
    client.post(schedule_url(campaign), {"when": "local", "day": f"{TOMORROW}", "at": "10:00"})
    url = reverse("campaigns:review", args=[campaign.pk])
    assert "on each person&#x27;s own clock" in client.get(url).content.decode()
    client.post(url, {"people": "1"})
    campaign = reload(campaign)
    assert campaign.status == "scheduled"
    assert campaign.occurrences.get().local_time == time(10)


def test_a_series_tells_each_of_its_times_on_its_page(client, manager):
    person("ada")
    campaign = series(begins=TOMORROW + timedelta(days=10))
    services.launch_due(at=campaign.send_at)
    settle(campaign)
    page = client.get(reverse("campaigns:detail", args=[campaign.pk]))
    times = page.context["times"]
    assert [time.occurrence.state for time in times] == ["pending", "launched"]
    text = page.content.decode()
    assert "Every day at 10:00, time of Rome" in text
    assert "Each time" in text

    client.post(reverse("campaigns:pause", args=[campaign.pk]))
    assert reload(campaign).status == "paused"
    client.post(reverse("campaigns:resume", args=[campaign.pk]))
    client.post(reverse("campaigns:end", args=[campaign.pk]))
    assert not campaign.occurrences.filter(state="pending").exists()


# --- the calendar -------------------------------------------------------------------------------------


def calendar(client, **asked):
    return client.get(reverse("campaigns:calendar"), asked)


def entries(answer) -> list[tuple[date, str, str, int | None]]:
    return [
        (day.date, entry.campaign.name, entry.state, entry.count)
        for day in answer.context["page"].days
        for entry in day.entries
    ]


def test_the_calendar_shows_what_was_sent_what_is_leaving_and_what_is_coming(client, manager):
    person("ada")
    sent, leaving = launch(make_campaign()), launch(make_campaign())
    CampaignDay.objects.filter(campaign=sent).update(day=localdate() - timedelta(days=1), sent=1)
    Campaign.objects.filter(pk=sent.pk).update(status="sent")
    coming = on("local", TOMORROW)
    draft = make_campaign()
    services.update_campaign(draft.pk, send_at=now() + timedelta(days=2), by=manager)

    answer = calendar(client, view="week", day=f"{localdate()}")
    found = entries(answer) + entries(calendar(client, view="week", day=f"{localdate() + timedelta(days=7)}"))
    found += entries(calendar(client, view="week", day=f"{localdate() - timedelta(days=7)}"))
    assert (localdate() - timedelta(days=1), sent.name, "sent", 1) in found
    assert (localdate(), leaving.name, "sending", 0) in found
    assert (TOMORROW, coming.name, "coming", 1) in found
    assert (localdate() + timedelta(days=2), draft.name, "draft", None) in found
    assert len(set(found)) == 4


def test_each_time_of_a_series_stands_on_its_day_also_months_ahead(client, manager):
    person("ada")
    campaign = series("0 10 * * 1", begins=date(TOMORROW.year + 1, 3, 1))
    year = TOMORROW.year + 1
    found = entries(calendar(client, day=f"{year}-03-15"))
    first, last = month_around(date(year, 3, 15))
    mondays = [first + timedelta(weeks=n) for n in range(6) if first + timedelta(weeks=n) <= last]
    assert [row[0] for row in found] == [day for day in mondays if day >= date(year, 3, 1)]
    assert {row[1:] for row in found} == {(campaign.name, "coming", 1)}


def test_a_time_that_was_left_out_says_why(client, manager):
    person("ada")
    begins = localdate() - timedelta(days=localdate().weekday() + 14)
    campaign = series(begins=TOMORROW, expire_hours=2)
    campaign.occurrences.update(
        local_date=begins, launch_at=datetime.combine(begins, time(10)).astimezone() - timedelta(hours=1)
    )
    services.launch_due()
    answer = calendar(client, view="week", day=f"{begins}")
    assert (begins, campaign.name, "skipped", None) in entries(answer)
    assert "It would have been too late" in answer.content.decode()


def test_days_that_ask_too_much_of_somebody_are_named(client, manager):
    person("ada")
    tuesday = localdate() + timedelta(days=8 - localdate().weekday())
    for _ in range(4):
        on("local", tuesday)
    pressure.measure_pressure()
    answer = calendar(client, view="week", day=f"{tuesday}")
    text = " ".join(answer.content.decode().split())
    assert "1 person gets more than 3 messages in that week" in text
    [day] = [day for day in answer.context["page"].days if day.date == tuesday]
    assert (day.per_person, day.extra, day.load) == (4, 3, 1)


def test_a_house_without_campaigns_is_told_what_the_calendar_is_for(client, manager):
    assert "Nothing in the calendar yet" in calendar(client).content.decode()
    make_campaign()
    text = calendar(client).content.decode()
    assert "Nothing goes out this month." in text
    assert "Nothing in the calendar yet" not in text


@pytest.mark.parametrize("day", ["", "soon", "2026-02-30", "9999-12-31", "0001-01-01", "\0"])
def test_a_day_that_is_none_shows_today(client, manager, day):
    answer = calendar(client, day=day)
    assert answer.status_code == 200
    assert answer.context["day"] == localdate()


def test_the_pages_turn_by_address_and_as_fragments(client, manager):
    make_campaign()
    answer = client.get(reverse("campaigns:calendar"), {"day": "2026-12-31"}, **HTMX)
    text = answer.content.decode()
    assert "<html" not in text
    assert 'href="?view=month&amp;day=2026-11-01"' in text
    assert 'href="?view=month&amp;day=2027-01-01"' in text
    text = calendar(client, view="week", day="2026-12-31").content.decode()
    assert 'href="?view=week&amp;day=2026-12-24"' in text


def test_the_calendar_asks_as_many_questions_for_many_campaigns_as_for_one(
    client, manager, django_assert_num_queries
):
    person("ada")
    launch(make_campaign())
    calendar(client)
    with django_assert_num_queries(9):
        calendar(client)
    brand = make_brand()
    for n in range(6):
        launch(make_campaign(brand=brand, channels=("email", "sms")))
        on("local", TOMORROW + timedelta(days=n), brand=brand)
        series("0 10 * * *", begins=TOMORROW, brand=brand)
    pressure.measure_pressure()
    with django_assert_num_queries(9):
        calendar(client)


def test_staff_of_a_store_have_no_calendar(client):
    client.force_login(make_user(role=Role.STORE_CLERK))
    assert calendar(client).status_code == 403


def test_weeks_begin_on_monday_and_months_hold_whole_weeks():
    assert week_around(date(2026, 11, 22)) == (date(2026, 11, 16), date(2026, 11, 22))
    assert month_around(date(2026, 11, 22)) == (date(2026, 10, 26), date(2026, 12, 6))
    assert month_around(date(2027, 2, 10)) == (date(2027, 2, 1), date(2027, 2, 28))
