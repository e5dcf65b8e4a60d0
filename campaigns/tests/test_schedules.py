from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from threading import Barrier
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils.timezone import now
from django_celery_beat.models import CrontabSchedule

from campaigns import dispatch, planning, services
from campaigns.explain import explain
from campaigns.models import Campaign, CampaignDay, Message, Occurrence
from campaigns.tests.factories import make_brand, make_campaign, make_segment
from core.errors import DomainError
from core.tests.factories import make_user
from customers.tests.factories import make_customer
from inventory.models import Store

pytestmark = pytest.mark.django_db(transaction=True)

ROME = ZoneInfo("Europe/Rome")
# The clocks of Rome spring forward and fall back on these days, both ahead of whoever runs this.
YEAR = now().year + 1
SPRING = max(date(YEAR, 3, day) for day in range(25, 32) if date(YEAR, 3, day).isoweekday() == 7)
AUTUMN = max(date(YEAR, 10, day) for day in range(25, 32) if date(YEAR, 10, day).isoweekday() == 7)


def crontab(line: str = "0 10 * * *", zone: str = "Europe/Rome") -> CrontabSchedule:
    minute, hour, month_day, month, week_day = line.split()
    return CrontabSchedule.objects.create(
        minute=minute,
        hour=hour,
        day_of_month=month_day,
        month_of_year=month,
        day_of_week=week_day,
        timezone=zone,
    )


def rome(day: date, clock: str) -> datetime:
    return datetime.combine(day, time.fromisoformat(clock), tzinfo=ROME)


def series(line: str = "0 10 * * *", *, begins: date, **fields) -> Campaign:
    campaign = make_campaign(crontab=crontab(line), wall_date=begins, **fields)
    services.schedule_campaign(campaign.pk, send_at=None, by=make_user())
    campaign.refresh_from_db()
    return campaign


def on(clock: str, day: date, at: str = "10:00", **fields) -> Campaign:
    campaign = make_campaign(clock=clock, wall_date=day, wall_time=time.fromisoformat(at), **fields)
    services.schedule_campaign(campaign.pk, send_at=None, by=make_user())
    campaign.refresh_from_db()
    return campaign


def person(name: str, **fields):
    return make_customer(email=f"{name}@x.example", consents=("email",), **fields)


def due(campaign: Campaign) -> dict[str, str]:
    """Who is due when, in UTC."""
    rows = campaign.messages.filter(status="planned").values_list("address", "due_at")
    return {address.split("@")[0]: f"{at.astimezone(UTC):%d %H:%M}" for address, at in rows}


def told(campaign: Campaign) -> list[tuple[date, str, str]]:
    """The occurrences that are over: the local day, the hour and what became of it."""
    rows = campaign.occurrences.exclude(state="pending")
    return [(row.local_date, f"{row.local_time:%H:%M}", row.reason or row.state) for row in rows]


def in_threads(work, times: int) -> list:
    barrier = Barrier(times)

    def run(_: int):
        try:
            barrier.wait()
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(run, range(times)))


def settle(campaign: Campaign) -> Campaign:
    """As if everything planned had been sent."""
    campaign.messages.filter(status="planned").update(status="sent", sent_at=now())
    services.finish_campaigns()
    campaign.refresh_from_db()
    return campaign


# --- on whose clock -------------------------------------------------------------------------------

THE_WORLD = {
    "auckland": "Pacific/Auckland",
    "kolkata": "Asia/Kolkata",
    "kathmandu": "Asia/Kathmandu",
    "rome": "Europe/Rome",
    "honolulu": "Pacific/Honolulu",
    "nobody-knows": "",
    "nowhere": "Mars/Olympus",
}


def ten_o_clock(name: str) -> str:
    """When it is ten where this person lives, for the unknown in Rome, as `due` writes it."""
    zone = THE_WORLD[name] if "/" in THE_WORLD[name] and name != "nowhere" else "Europe/Rome"
    return f"{datetime.combine(SPRING, time(10), tzinfo=ZoneInfo(zone)).astimezone(UTC):%d %H:%M}"


def test_everybody_gets_it_on_their_own_clock():
    for name, zone in THE_WORLD.items():
        person(name, timezone=zone)
    campaign = on("local", SPRING)
    launch_at = campaign.occurrences.get().launch_at
    assert services.launch_due(at=launch_at - timedelta(seconds=1)) == 0
    assert services.launch_due(at=launch_at) == 1
    assert due(campaign) == {name: ten_o_clock(name) for name in THE_WORLD}
    message = Message.objects.get(address="kolkata@x.example")
    assert message.expires_at - message.due_at == timedelta(hours=campaign.expire_hours)


def test_it_is_planned_before_the_first_clock_of_the_world_gets_there():
    person("kiritimati", timezone="Pacific/Kiritimati")
    campaign = on("local", SPRING)
    launch_at = campaign.occurrences.get().launch_at
    services.launch_due(at=launch_at)
    assert campaign.messages.get().due_at == launch_at + timedelta(minutes=15)


def test_what_has_passed_goes_at_once_or_is_held_back_as_too_late():
    for name in ("auckland", "kolkata", "rome", "honolulu"):
        person(name, timezone=THE_WORLD[name])
    campaign = on("local", SPRING, expire_hours=6)
    nine_in_rome = rome(SPRING, "09:00")
    services.launch_due(at=nine_in_rome)
    assert due(campaign) == {
        "kolkata": f"{nine_in_rome.astimezone(UTC):%d %H:%M}",
        "rome": ten_o_clock("rome"),
        "honolulu": ten_o_clock("honolulu"),
    }
    assert Message.objects.get(address="auckland@x.example").reason == "expired"


def test_a_day_that_is_over_everywhere_cannot_be_chosen():
    person("rome")
    with pytest.raises(services.NotReady, match="over everywhere"):
        on("local", now().date() - timedelta(days=2))


def test_the_clock_of_the_store_counts_wherever_one_lives():
    rome_store = Store.objects.create(code="rm", name="Roma", timezone="Europe/Rome")
    london = Store.objects.create(code="ln", name="London", timezone="Europe/London")
    person("a", home_store=rome_store, timezone="Asia/Tokyo")
    person("b", home_store=london)
    person("c")
    day = date(YEAR, 6, 1)
    campaign = on("store", day)
    services.launch_due(at=campaign.occurrences.get().launch_at)
    assert due(campaign) == {"a": "01 08:00", "b": "01 09:00", "c": "01 08:00"}


def test_quiet_hours_still_hold_on_a_clock_of_ones_own():
    brand = make_brand(quiet_from="21:00", quiet_until="08:00")
    person("rome")
    person("tokyo", timezone="Asia/Tokyo")
    campaign = on("local", date(YEAR, 6, 1), "22:30", brand=brand)
    services.launch_due(at=campaign.occurrences.get().launch_at)
    assert due(campaign) == {"rome": "02 06:00", "tokyo": "01 23:00"}
    message = Message.objects.get(address="tokyo@x.example")
    assert message.expires_at - message.due_at == timedelta(hours=6)  # Counted from when it may go.


@pytest.mark.parametrize(
    ("day", "at", "instant"),
    [
        (SPRING, "02:30", "01:00"),  # Skipped: as the clocks jump.
        (SPRING, "10:00", "08:00"),
        (AUTUMN, "02:30", "00:30"),  # Shown twice: the first time.
        (AUTUMN, "10:00", "09:00"),
    ],
)
def test_a_person_in_rome_gets_it_once_on_the_days_the_clocks_change(day, at, instant):
    person("rome", timezone="Europe/Rome")
    campaign = on("local", day, at)
    services.launch_due(at=campaign.occurrences.get().launch_at)
    assert due(campaign) == {"rome": f"{day:%d} {instant}"}


# --- series ---------------------------------------------------------------------------------------


def test_a_daily_series_comes_once_each_day_over_both_changes_of_the_clocks():
    person("ada")
    for change in (SPRING, AUTUMN):
        for line in ("30 2 * * *", "0 10 * * *"):
            campaign = series(line, begins=change - timedelta(days=1), expire_hours=2)
            clock = datetime.combine(change - timedelta(days=1), time(), tzinfo=UTC)
            end = clock + timedelta(days=3)
            while clock < end:  # A beat each half hour, which settles what it planned.
                services.launch_due(at=clock)
                settle(campaign)
                clock += timedelta(minutes=30)
            hour = "02:30" if line.startswith("30") else "10:00"
            assert told(campaign)[:3] == [
                (change + timedelta(days=n), hour, "launched") for n in (-1, 0, 1)
            ], (change, line)
            assert campaign.messages.count() == len(told(campaign))
            Campaign.objects.filter(pk=campaign.pk).update(status="cancelled")


def test_many_beats_in_the_same_minute_launch_an_occurrence_once():
    for n in range(10):
        person(f"p{n}")
    campaign = series(begins=SPRING)
    for _ in range(5):
        at = campaign.occurrences.get(state="pending").launch_at
        assert sum(in_threads(lambda: services.launch_due(at=at), 6)) == 1  # noqa: B023
    assert [row[2] for row in told(campaign)] == ["launched"] * 5
    assert campaign.messages.count() == 50


def test_the_database_itself_refuses_a_second_occurrence_of_a_local_hour():
    campaign = series(begins=SPRING)
    first = campaign.occurrences.get()
    with pytest.raises(IntegrityError, match="occurrence_once"), transaction.atomic():
        Occurrence.objects.create(
            campaign=campaign,
            number=7,
            local_date=first.local_date,
            local_time=first.local_time,
            launch_at=first.launch_at,
            state="launched",
            launched_at=now(),
        )


def test_two_beats_and_two_dispatchers_send_each_occurrence_once(sink):
    for n in range(20):
        person(f"p{n}")
    campaign = series(begins=now().date() - timedelta(days=1), line="0 * * * *")
    at = now()
    Occurrence.objects.update(launch_at=at, local_date=at.astimezone(ROME).date(), local_time=time(0))

    def beat() -> int:
        return services.launch_due()

    def dispatcher() -> int:
        sent = 0
        for _ in range(40):
            sent += dispatch.dispatch_batch(owner=uuid4(), limit=5)
        return sent

    works = iter([beat, beat, dispatcher, dispatcher])
    in_threads(lambda: next(works)(), 4)
    while dispatch.dispatch_batch(owner=uuid4()):
        pass
    launched = campaign.occurrences.filter(state="launched").count()
    assert launched == 1
    assert sorted(sink.addresses) == sorted(set(sink.addresses))
    assert len(sink.addresses) == 20


def test_after_an_outage_only_the_latest_runs_and_the_others_say_why_not():
    person("ada")
    campaign = series("0 */2 * * *", begins=SPRING - timedelta(days=10), expire_hours=5)
    first = campaign.occurrences.get().launch_at  # Midnight of Rome.
    services.launch_due(at=first + timedelta(hours=8, minutes=30))
    assert told(campaign) == [
        (SPRING - timedelta(days=10), "00:00", "expired"),
        (SPRING - timedelta(days=10), "02:00", "expired"),
        (SPRING - timedelta(days=10), "04:00", "replaced"),
        (SPRING - timedelta(days=10), "06:00", "replaced"),
        (SPRING - timedelta(days=10), "08:00", "launched"),
    ]
    assert campaign.messages.get().occurrence == 4
    assert campaign.occurrences.get(state="pending").local_time == time(10)


def test_a_series_that_is_late_for_good_waits_for_its_next_time():
    person("ada")
    campaign = series("0 10 * * *", begins=SPRING - timedelta(days=10), expire_hours=5)
    services.launch_due(at=campaign.occurrences.get().launch_at + timedelta(hours=7))
    assert [row[2] for row in told(campaign)] == ["expired"]
    assert not campaign.messages.exists()
    assert campaign.occurrences.get(state="pending").local_date == SPRING - timedelta(days=9)
    campaign.refresh_from_db()
    assert campaign.status == "scheduled"


def test_a_late_campaign_that_goes_out_once_tells_everybody_why_it_did_not():
    person("ada")
    campaign = make_campaign()
    services.schedule_campaign(campaign.pk, send_at=now() + timedelta(hours=1), by=make_user())
    services.launch_due(at=now() + timedelta(hours=8))
    assert campaign.messages.get().reason == "expired"


def test_a_series_waits_between_its_times_and_ends_with_its_last_day():
    person("ada")
    campaign = series(begins=SPRING, repeat_until=SPRING + timedelta(days=1))
    assert (campaign.status, campaign.send_at) == ("scheduled", rome(SPRING, "10:00"))

    services.launch_due(at=campaign.send_at)
    campaign.refresh_from_db()
    assert campaign.status == "sending"
    assert settle(campaign).status == "scheduled"
    assert campaign.send_at == rome(SPRING + timedelta(days=1), "10:00")

    services.launch_due(at=campaign.send_at)
    assert settle(campaign).status == "sent"
    assert campaign.messages.values_list("occurrence", flat=True).count() == 2


def test_a_series_on_local_clocks_plans_tomorrow_while_today_still_leaves():
    person("honolulu", timezone="Pacific/Honolulu")
    campaign = series(begins=SPRING, clock="local")
    for _ in range(2):
        services.launch_due(at=campaign.occurrences.get(state="pending").launch_at)
    campaign.refresh_from_db()
    assert campaign.status == "sending"
    assert list(campaign.messages.values_list("occurrence", flat=True)) == [0, 1]
    assert len(set(campaign.messages.values_list("due_at", flat=True))) == 2


def test_a_series_paused_between_its_times_does_not_launch_and_goes_on_when_resumed():
    person("ada")
    by = make_user()
    campaign = series(begins=SPRING)
    services.pause_campaign(campaign.pk, by=by)
    assert services.launch_due(at=rome(SPRING, "10:00")) == 0
    services.resume_campaign(campaign.pk, by=by)
    assert services.launch_due(at=rome(SPRING + timedelta(days=1), "11:00")) == 1
    assert [row[2] for row in told(campaign)] == ["expired", "launched"]


def test_a_series_that_is_ended_sends_what_is_planned_and_no_more():
    person("ada")
    campaign = series(begins=SPRING)
    services.launch_due(at=rome(SPRING, "10:00"))
    services.end_series(campaign.pk, by=make_user())
    assert services.launch_due(at=rome(SPRING + timedelta(days=1), "10:00")) == 0
    assert settle(campaign).status == "sent"


def test_cancelling_a_series_between_its_times_ends_it():
    person("ada")
    campaign = series(begins=SPRING)
    services.launch_due(at=rome(SPRING, "10:00"))
    settle(campaign)
    services.cancel_campaign(campaign.pk, by=make_user())
    assert services.launch_due(at=rome(SPRING + timedelta(days=1), "10:00")) == 0
    assert not campaign.occurrences.filter(state="pending").exists()


def test_only_a_series_can_be_ended():
    campaign = make_campaign()
    services.schedule_campaign(campaign.pk, send_at=now() + timedelta(days=1), by=make_user())
    with pytest.raises(DomainError, match="series"):
        services.end_series(campaign.pk, by=make_user())


def test_an_edit_between_two_times_never_repeats_one():
    person("ada")
    by = make_user()
    campaign = series(begins=SPRING)
    services.launch_due(at=rome(SPRING, "10:00"))
    settle(campaign)
    services.update_campaign(campaign.pk, by=by, name="Another name")
    assert not campaign.occurrences.filter(state="pending").exists()
    services.schedule_campaign(campaign.pk, send_at=None, by=by)
    assert campaign.occurrences.get(state="pending").local_date == SPRING + timedelta(days=1)


def test_a_text_people_have_had_cannot_be_taken_out_and_the_draft_not_be_deleted():
    person("ada")
    by = make_user()
    campaign = series(begins=SPRING)
    services.launch_due(at=rome(SPRING, "10:00"))
    settle(campaign)
    with pytest.raises(services.NotEditable, match="stays"):
        services.remove_content(campaign.pk, channel="email", language="en", by=by)
    services.unschedule_campaign(campaign.pk, by=by)
    with pytest.raises(services.NotEditable, match="never went out"):
        services.delete_draft(campaign.pk, by=by)


def test_a_series_is_approved_once_for_all_its_times():
    person("ada")
    person("bea")
    campaign = series(begins=SPRING, brand=make_brand(approval_above=1))
    assert campaign.status == "approval"
    assert services.launch_due(at=rome(SPRING, "10:00")) == 0
    services.approve_campaign(campaign.pk, by=make_user())
    for days in range(2):
        assert services.launch_due(at=rome(SPRING + timedelta(days=days), "10:00")) == 1
        settle(campaign)


def test_what_waited_long_for_approval_goes_when_it_is_approved():
    person("ada")
    person("bea")
    campaign = make_campaign(brand=make_brand(approval_above=1))
    services.schedule_campaign(campaign.pk, send_at=now() + timedelta(hours=1), by=make_user())
    Campaign.objects.update(send_at=now() - timedelta(days=3))
    services.approve_campaign(campaign.pk, by=make_user())
    assert services.launch_due() == 1
    assert set(campaign.messages.values_list("status", flat=True)) == {"planned"}


def test_finishing_waits_for_a_launch_that_is_under_way():
    person("ada")
    campaign = series(begins=SPRING)
    services.launch_due(at=rome(SPRING, "10:00"))
    campaign.messages.update(status="sent", sent_at=now())
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        services.launch_next(at=rome(SPRING + timedelta(days=1), "10:00"))

        def finish() -> int:
            try:
                return services.finish_campaigns()
            finally:
                connection.close()

        assert pool.submit(finish).result(timeout=20) == 0
    campaign.refresh_from_db()
    assert campaign.status == "sending"
    assert campaign.messages.filter(status="planned").count() == 1


# --- birthdays --------------------------------------------------------------------------------------

BIRTHDAY = {"type": "attribute", "name": "birth_date", "op": "birthday_within", "days": 0}


@pytest.mark.parametrize("clock", ["moment", "local", "best"])
def test_whoever_is_born_on_29_february_is_greeted_once_a_year(clock):
    leap = next(year for year in range(YEAR, YEAR + 8) if year % 4 == 0)
    person("leapling", birth_date=date(2000, 2, 29))
    person("other", birth_date=date(1990, 2, 28))
    greet = (make_segment(definition=BIRTHDAY),)
    for year, day in ((leap, date(leap, 2, 29)), (leap + 1, date(leap + 1, 2, 28))):
        campaign = series(begins=date(year, 2, 27), repeat_until=date(year, 3, 2), clock=clock, include=greet)
        while pending := campaign.occurrences.filter(state="pending").first():
            services.launch_due(at=pending.launch_at)
        mine = campaign.messages.get(address="leapling@x.example")
        assert campaign.occurrences.get(number=mine.occurrence).local_date == day
        assert campaign.messages.get(address="other@x.example").occurrence == 1
        Campaign.objects.filter(pk=campaign.pk).update(status="cancelled")


# --- what is kept for the calendar, and the forecast ----------------------------------------------------


def test_planning_notes_how_much_each_day_carries():
    person("auckland", timezone="Pacific/Auckland")
    person("rome")
    person("honolulu", timezone="Pacific/Honolulu")
    day = date(YEAR, 6, 10)
    campaign = on("local", day, "06:00")
    services.launch_due(at=campaign.occurrences.get().launch_at)
    kept = CampaignDay.objects.order_by("day").values_list("day", "channel", "planned", "sent")
    assert list(kept) == [(day - timedelta(days=1), "email", 1, 0), (day, "email", 2, 0)]
    assert planning.plan_messages(campaign, campaign.occurrences.get()) == 0
    assert sum(row.planned for row in CampaignDay.objects.all()) == 3


def test_the_forecast_is_what_planning_writes_and_says_when_the_last_leaves():
    for n in range(30):
        person(f"p{n}")
    campaign = make_campaign(throttle_per_hour=10)
    at = now()
    found = planning.forecast(campaign, at=at)
    assert found.messages == 30
    assert found.departure.last - found.departure.first == timedelta(hours=3)

    services.update_campaign(campaign.pk, expire_hours=2, by=make_user())
    campaign.refresh_from_db()
    found = planning.forecast(campaign, at=at)
    assert (found.departure.too_late, found.departure.last - found.departure.first) == (
        10,
        timedelta(hours=2),
    )


def test_a_message_that_waits_for_its_own_hour_says_so_and_not_quiet_hours():
    person("rome")
    campaign = on("local", SPRING)
    services.launch_due(at=campaign.occurrences.get().launch_at)
    message = campaign.messages.select_related("campaign").get()
    assert explain(message).startswith("Waits until")
    message.status, message.reason = "suppressed", "expired"
    assert explain(message) == "Not sent: It would have come too late."
