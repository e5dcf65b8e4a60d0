import io
from datetime import timedelta
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils.timezone import now

from campaigns import services
from campaigns.models import Campaign, Click, Conversion, Link, Message, ProviderReport
from campaigns.tests.factories import launch, make_brand, make_campaign
from customers.models import ConsentEvent, Event, ImportJob
from customers.services import record_consent, suppress_address
from customers.tests.factories import make_customer, make_event
from omnicrm.invariants import INVARIANTS, check_invariants
from orders.tests.factories import make_order
from segments.membership import refresh
from segments.models import Membership, Segment, Touch
from segments.services import add_members, remove_members
from segments.tests.factories import make_segment

pytestmark = pytest.mark.django_db


def broken():
    return {finding.invariant.code for finding in check_invariants() if finding.count}


def sql(statement):
    """Run what the constraints would never allow; those of this transaction are checked first."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(statement)


@pytest.fixture
def message():
    """A message that was sent, as the dispatcher leaves it."""
    ada = make_customer(email="ada@x.example", phone="+393331234567", consents=("email", "sms"))
    campaign = launch(make_campaign(channels=("email", "sms")))
    sent = campaign.messages.filter(channel="email").get()
    Message.objects.filter(campaign=campaign).update(
        status="sent", sending_at=now(), sent_at=now(), settled_at=now()
    )
    for each in campaign.messages.all():
        Event.objects.create(customer=ada, name="Message Sent", source="campaigns", key=f"{each.pk}:sent")
    services.finish_campaigns()
    assert broken() == set()
    sent.refresh_from_db()
    return sent


def change(message, **fields):
    Message.objects.filter(pk=message.pk).update(**fields)


def test_an_empty_house_keeps_every_promise():
    assert broken() == set()
    assert len({invariant.code for invariant in INVARIANTS}) == len(INVARIANTS)


def test_s1_and_s2_a_message_twice(message):
    sql("ALTER TABLE campaigns_message DROP CONSTRAINT message_once")
    sql("DROP INDEX message_once_per_address")
    message.pk = None
    message.status, message.provider_ref = "failed", ""
    message.save(force_insert=True)
    assert broken() == {"S1", "S2"}


def test_s2_two_people_behind_one_address(message):
    sql("DROP INDEX message_once_per_address")
    other = make_customer(consents=("email",))
    message.pk, message.customer, message.status = None, other, "failed"
    message.sending_at = now()
    message.save(force_insert=True)
    assert broken() == {"S2"}


def test_s3_sent_after_consent_was_withdrawn(message):
    record_consent(message.customer_id, channel="email", state="revoked", source="phone")
    assert broken() == set()
    change(message, sending_at=now())
    assert broken() == {"S3"}


def test_s3_sent_before_consent_was_given(message):
    change(message, sending_at=now() - timedelta(days=1))
    assert broken() == {"S3"}


def test_s4_sent_to_a_blocked_address(message):
    suppress_address(channel="email", address=message.address, reason="complained")
    assert broken() == set()
    change(message, sending_at=now() + timedelta(seconds=1))
    assert broken() == {"S4"}


def test_s5_sent_in_quiet_hours(message):
    at_night = (now() + timedelta(days=1)).replace(hour=1, minute=30)
    brand = make_brand(quiet_from="21:00", quiet_until="08:00")
    Campaign.objects.filter(pk=message.campaign_id).update(brand=brand)
    change(message, sending_at=at_night, expires_at=None)
    assert broken() == {"S5"}
    Campaign.objects.filter(pk=message.campaign_id).update(respect_quiet_hours=False)
    assert broken() == set()


def test_s7_held_beyond_two_leases(message):
    Campaign.objects.filter(pk=message.campaign_id).update(status="sending")
    change(message, status="sending", owner=uuid4(), lease_until=now())
    assert "S7" not in broken()
    change(message, lease_until=now() - timedelta(minutes=5))
    assert broken() == {"S7"}


def test_s7_unknown_for_a_day(message):
    change(message, status="unknown", settled_at=now() - timedelta(hours=25))
    assert broken() == {"S7"}


def test_s8_a_campaign_that_is_over_still_has_something_waiting(message):
    change(message, status="planned", sending_at=None)
    assert broken() == {"S8"}


def test_s10_a_scheduled_campaign_without_a_next_time(message):
    Campaign.objects.filter(pk=message.campaign_id).update(status="scheduled")
    assert broken() == {"S10"}


def test_s10_a_message_of_no_occurrence(message):
    change(message, occurrence=3)
    assert broken() == {"S10"}


def test_s11_sent_later_than_it_may_be(message):
    change(message, expires_at=now() - timedelta(minutes=5))
    assert broken() == {"S11"}


def test_c1_the_projection_says_something_else(message):
    sql("UPDATE customers_consent SET state = 'denied' WHERE channel = 'sms'")
    assert broken() == {"C1"}


def test_c1_the_projection_lacks_somebody(message):
    sql("DELETE FROM customers_consent WHERE channel = 'sms'")
    assert broken() == {"C1"}


def test_c2_the_guard_of_consent_is_off():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = 'customers_consentevent'::regclass"
            " AND tgname LIKE 'pgtrigger_append_only%%'"
        )
        [(name,)] = cursor.fetchall()
    sql(f'ALTER TABLE customers_consentevent DISABLE TRIGGER "{name}"')
    assert broken() == {"C2"}


def test_c3_a_consent_without_proof():
    record_consent(make_customer().pk, channel="email", state="granted", source="somewhere")
    assert broken() == {"C3"}
    assert ConsentEvent.objects.count() == 1


def test_e2_sent_and_not_in_the_log(message):
    Event.objects.filter(key=f"{message.pk}:sent").delete()
    assert broken() == {"E2"}


def test_e2_bought_and_not_in_the_log():
    make_order(make_customer())
    assert broken() == {"E2"}


@pytest.mark.parametrize("nobody", [{"customer_id": 0}, {"store_id": 0}])
def test_e6_an_event_of_nobody_or_in_no_store(nobody):
    make_event(make_customer(), "Store Visited")
    Event.objects.update(**nobody)
    assert broken() == {"E6"}


def make_report(message, **fields):
    kind = {"provider": "twilio", "channel": "email", "kind": "delivered", "payload_hash": "0" * 64}
    return ProviderReport.objects.create(**{**kind, "message": message.pk, "occurred_at": now(), **fields})


def test_e3_a_report_nobody_takes_up(message):
    make_report(message, event_id="1", due_at=now() - timedelta(minutes=14))
    assert broken() == set()
    make_report(message, event_id="2", due_at=now() - timedelta(minutes=16))
    assert broken() == {"E3"}


def test_e3_a_report_twice(message):
    sql("ALTER TABLE campaigns_providerreport DROP CONSTRAINT report_once")
    for _ in range(2):
        make_report(message, event_id="1", processed_at=now())
    assert broken() == {"E3"}


def test_e5_given_up_without_a_reason(message):
    sql("ALTER TABLE campaigns_providerreport DROP CONSTRAINT report_dead_has_reason")
    make_report(message, event_id="1", dead_at=now())
    assert broken() == {"E5"}


def test_e4_came_back_after_it_arrived(message):
    for word in ("Delivered", "Bounced"):
        make_event(message.customer, f"Message {word}")
        key = f"{message.pk}:{word.lower()}"
        Event.objects.filter(name=f"Message {word}").update(source="campaigns", key=key)
    change(message, status="bounced", reason="bad_address")
    assert broken() == set()
    change(message, status="delivered")
    assert broken() == {"E4"}


def test_e4_back_from_delivered(message):
    make_event(message.customer, "Message Delivered")
    Event.objects.filter(name="Message Delivered").update(source="campaigns", key=f"{message.pk}:delivered")
    assert broken() == {"E4"}


@pytest.mark.parametrize("days", [-1, 8])
def test_r1_an_order_credited_that_could_not_follow(message, days):
    bought = make_event(message.customer, "Order Completed", at=message.sent_at + timedelta(days=days))
    Conversion.objects.create(
        campaign=message.campaign,
        message=message,
        event=bought,
        revenue_minor=1,
        currency="EUR",
        occurred_at=bought.occurred_at,
    )
    assert broken() == {"R1"}


def test_r2_a_click_on_another_campaigns_link(message):
    stranger = Link.objects.create(campaign=make_campaign(), url="https://x.example")
    Click.objects.create(message=message, link=stranger)
    assert broken() == {"R2"}


def test_i1_a_refused_row_without_its_reason():
    ImportJob.objects.create(kind="customers", status="done", file_name="a.csv", rows=1, rejected=1)
    assert broken() == {"I1"}


def test_the_command_says_what_is_broken_and_ends_with_1():
    out, err = io.StringIO(), io.StringIO()
    call_command("check_invariants", stdout=out, stderr=err)
    assert all(f"{invariant.code} " in out.getvalue() for invariant in INVARIANTS)

    order = make_order(make_customer())
    out = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("check_invariants", stdout=out, stderr=err)
    assert ended.value.code == 1
    assert f"order {order.source} {order.number}" in out.getvalue()
    assert "1 invariants are broken" in err.getvalue()


# --- segments -------------------------------------------------------------------------------------


@pytest.fixture
def milanesi():
    """A segment of one, with somebody put in and somebody taken out by hand; and the three people."""
    city = {"type": "attribute", "name": "city", "op": "is", "value": "Milano"}
    people = [make_customer(city=city) for city in ("Milano", "Milano", "Roma")]
    segment = make_segment(definition=city)
    add_members(segment.pk, customer_ids=[people[2].pk], by=None)
    remove_members(segment.pk, customer_ids=[people[1].pk], by=None)
    segment = refresh(segment.pk)
    Touch.objects.all().delete()
    assert segment.match_count == 2
    assert broken() == set()
    return segment, people


def test_g1_two_spells_at_once(milanesi):
    segment, people = milanesi
    spell = segment.spells.get(customer=people[0])
    before = {"entered_at": spell.entered_at - timedelta(days=2), "left_at": spell.entered_at}
    Membership.objects.create(segment=segment, customer=people[0], **before)
    assert broken() == set()
    before["left_at"] += timedelta(seconds=1)
    Membership.objects.create(segment=segment, customer=people[0], **before)
    assert broken() == {"G1"}


def test_g2_a_count_that_is_not_the_number_of_members(milanesi):
    segment, _people = milanesi
    Segment.objects.filter(pk=segment.pk).update(match_count=3)
    assert broken() == {"G2"}


def test_g3_decisions_that_do_not_hold(milanesi):
    segment, people = milanesi
    segment.spells.filter(customer=people[2]).update(customer=people[1])
    assert {f.invariant.code: f.count for f in check_invariants() if f.count} == {"G3": 2}
    Touch.objects.bulk_create(Touch(customer_id=one.pk) for one in people)
    assert broken() == set()


def test_g4_members_of_nothing(milanesi):
    _segment, people = milanesi
    sql(f"UPDATE segments_membership SET customer_id = 0 WHERE customer_id = {people[0].pk}")
    assert broken() == {"G4"}
    sql("UPDATE segments_membership SET segment_id = 0")
    assert broken() == {"G2", "G3", "G4"}
