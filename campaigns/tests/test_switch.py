from threading import Thread
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connection

from campaigns import dispatch, outbox, switch
from campaigns.models import Switch
from campaigns.tests.factories import launch, make_campaign
from core.errors import DomainError
from core.history import read_history
from core.roles import Role
from core.tests.factories import make_user
from customers.tests.factories import make_customer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def campaign():
    for number in range(20):
        make_customer(
            email=f"p{number}@x.example",
            phone=f"+39333000{number:04}",
            consents=("email", "sms"),
        )
    return launch(make_campaign(channels=("email", "sms")))


def claimed(channel: str) -> int:
    return len(outbox.claim(uuid4(), channel, 5))


def restored_elsewhere() -> None:
    """What a dump brings: every row as it was, in another database."""
    Switch.objects.filter(name=switch.HOUSE).update(place="7300000000000000000/16384/17001")


def test_a_new_house_may_send(campaign):
    assert switch.why_off(["email"]) is None
    assert claimed("email") == 5


def test_turned_off_nothing_is_claimed_until_it_is_turned_on(campaign):
    switch.turn_sends(False, reason="the wrong price", by="ada")

    assert claimed("email") == claimed("sms") == 0
    assert switch.why_off(["email"]).reason == "the wrong price"

    switch.turn_sends(True, by="ada")
    assert claimed("email") == 5


def test_a_channel_is_turned_off_alone(campaign):
    switch.turn_sends(False, channel="sms", reason="no credit", by="ada")

    assert claimed("sms") == 0
    assert claimed("email") == 5
    assert switch.why_off(["email"]) is None
    assert switch.why_off(["email", "sms"]).channel == "sms"


def test_what_is_claimed_already_is_given_back_before_the_wire(campaign, sink):
    owner = uuid4()
    leased = [one.id for one in outbox.claim(owner, "email", 8)]
    switch.turn_sends(False, by="ada")

    assert outbox.fence(owner, leased) == []
    assert set(campaign.messages.filter(pk__in=leased).values_list("status", "attempts")) == {("planned", 0)}


def test_turning_off_reaches_a_worker_between_two_windows(campaign, sink, monkeypatch):
    """Another process turns sending off while the first window is on the wire."""
    mark = outbox.mark_and_fence

    def off_after_the_first(*arguments, **options):
        answer = mark(*arguments, **options)
        if answer:
            thread = Thread(target=lambda: (switch.turn_sends(False, by="ada"), connection.close()))
            thread.start()
            thread.join()
        return answer

    monkeypatch.setattr(outbox, "mark_and_fence", off_after_the_first)
    dispatch.dispatch_batch(owner=uuid4(), channels=["email"])

    assert len(sink.mails) == dispatch.WINDOW
    assert campaign.messages.filter(channel="email", status="planned").count() == 20 - dispatch.WINDOW


def test_a_restored_copy_stays_silent_until_it_is_told_to_send(campaign):
    restored_elsewhere()

    assert claimed("email") == 0
    assert switch.why_off(["email"]).is_copy
    call_command("migrate", verbosity=0)  # A copy is often of an older version.
    assert claimed("email") == 0

    switch.turn_sends(True, by="ada")
    assert claimed("email") == 5


def test_a_place_is_this_database_and_no_other():
    with connection.cursor() as cursor:
        cursor.execute("SELECT place_of_database()")
        [(here,)] = cursor.fetchall()
        cursor.execute("ALTER TABLE campaigns_switch RENAME TO restored_switch")
        cursor.execute(
            "CREATE TABLE campaigns_switch AS TABLE restored_switch"
        )  # As pg_restore makes it anew.
        cursor.execute("SELECT place_of_database(), sends_are_on('email')")
        [(there, may_send)] = cursor.fetchall()
        cursor.execute("DROP TABLE campaigns_switch")
        cursor.execute("ALTER TABLE restored_switch RENAME TO campaigns_switch")
    assert there != here
    assert not may_send


def test_the_environment_has_the_last_word(campaign, settings):
    settings.SENDS = False
    assert claimed("email") == 0
    assert switch.why_off(["email"]).reason == "SENDS=off"


def test_migrating_does_not_turn_on_what_somebody_turned_off():
    switch.turn_sends(False, by="ada")
    call_command("migrate", verbosity=0)
    assert not switch.states()[0].is_on


def test_a_copy_of_an_empty_house_may_send():
    restored_elsewhere()
    call_command("migrate", verbosity=0)
    assert switch.why_off(["email"]) is None


def test_there_is_no_switch_for_a_channel_that_is_not():
    with pytest.raises(DomainError):
        switch.turn_sends(False, channel="pigeon", by="ada")


def test_the_campaigns_page_says_why_nothing_leaves(campaign, client):
    client.force_login(campaign.created_by)

    def page() -> str:
        return " ".join(client.get(campaign.get_absolute_url()).content.decode().split())

    assert "switched off" not in page()
    switch.turn_sends(False, channel="sms", reason="no credit left", by="ada")
    assert "Sending is switched off for SMS" in page()
    assert "“no credit left”" in page()
    switch.turn_sends(False, by="ada")
    assert "<strong>Sending is switched off</strong>" in page()
    switch.turn_sends(True, by="ada")
    restored_elsewhere()
    assert "is a copy of another one" in page()


def test_who_turned_it_off_stands_in_the_history():
    switch.turn_sends(False, reason="the wrong price", by="ada")

    entries, _ = read_history(reader=make_user(role=Role.ADMINISTRATOR), kind="campaigns.switch")

    said = {change.label: (change.before, change.after) for change in entries[0].changes}
    assert said["On"] == ("Yes", "No")
    assert said["Reason"] == ("–", "the wrong price")
    assert said["Set by"] == ("manage.py migrate", "ada")
