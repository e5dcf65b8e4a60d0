from datetime import timedelta

import pytest
from django.utils.timezone import localdate, now

from campaigns import services
from campaigns.checks import AUDIENCE, CONTENT, SCHEDULE, problems
from campaigns.models import Content, Sender
from campaigns.tests.factories import make_brand, make_campaign, make_segment
from campaigns.tests.test_schedules import crontab

pytestmark = pytest.mark.django_db


def found(campaign, *, step, blocks=True):
    return [p.text for p in problems(campaign) if p.step == step and p.blocks is blocks]


def change(campaign, **fields):
    Content.objects.filter(campaign=campaign).update(**fields)


def test_a_complete_campaign_has_no_problem():
    assert problems(make_campaign()) == []


def test_nobody_to_send_to_blocks():
    campaign = make_campaign()
    campaign.include.clear()
    assert found(campaign, step=AUDIENCE)


def test_an_archived_segment_blocks_and_is_named():
    segment = make_segment(name="Old friends")
    campaign = make_campaign(include=(segment,))
    segment.archived_at = now()
    segment.save()
    assert "Old friends" in found(campaign, step=AUDIENCE)[0]


def test_nothing_written_blocks():
    assert found(make_campaign(channels=()), step=CONTENT)


def test_a_channel_without_the_brands_own_language_blocks():
    campaign = make_campaign(brand=make_brand(default_language="it"))
    assert "(it)" in found(campaign, step=CONTENT)[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"body": "{{ password }}"},
        {"body": "{% for a in b %}{% endfor %}"},
        {"subject": "{{"},
        {"body": "   "},
        {"subject": ""},
        {"button_label": "Shop"},
        {"body": "[here]({{ traits.link }})"},
    ],
)
def test_a_text_that_cannot_be_sent_blocks_once(fields):
    campaign = make_campaign()
    change(campaign, **fields)
    assert len(found(campaign, step=CONTENT)) == 1


def test_the_unsubscribe_address_may_be_a_link_of_its_own():
    campaign = make_campaign()
    change(campaign, body="[Leave]({{ unsubscribe_url }})")
    assert problems(campaign) == []


def test_a_sender_of_another_brand_blocks():
    campaign = make_campaign()
    change(campaign, sender=Sender.objects.get(brand=make_brand(), channel="email"))
    assert found(campaign, step=CONTENT)


def test_a_long_subject_and_a_mail_gmail_would_cut_are_advice():
    campaign = make_campaign()
    change(campaign, subject="x" * 61)
    assert len(found(campaign, step=CONTENT, blocks=False)) == 1
    change(campaign, body='"' * 19_000)  # Six bytes each in HTML.
    assert len(found(campaign, step=CONTENT, blocks=False)) == 2
    assert found(campaign, step=CONTENT) == []


def test_a_text_message_without_a_way_out_is_advised_against():
    campaign = make_campaign(channels=("sms",))
    assert len(found(campaign, step=CONTENT, blocks=False)) == 1


def test_a_campaign_cannot_expire_before_it_starts():
    campaign = make_campaign()
    campaign.send_at, campaign.expires_at = now() + timedelta(days=2), now() + timedelta(days=1)
    assert found(campaign, step=SCHEDULE)


def test_a_time_that_has_passed_is_pointed_out_while_it_can_be_changed():
    campaign = make_campaign()
    services.update_campaign(campaign.pk, send_at=now() - timedelta(hours=1), by=campaign.created_by)
    campaign.refresh_from_db()
    assert len(found(campaign, step=SCHEDULE, blocks=False)) == 1
    campaign.status = "sent"
    assert found(campaign, step=SCHEDULE, blocks=False) == []


def test_a_day_that_is_over_everywhere_blocks_and_a_series_of_the_past_too():
    day = localdate()
    campaign = make_campaign(clock="local", wall_date=day, wall_time="10:00")
    assert found(campaign, step=SCHEDULE) == []
    campaign.wall_date = day - timedelta(days=3)
    assert len(found(campaign, step=SCHEDULE)) == 1

    campaign = make_campaign(crontab=crontab("0 10 * * *"), repeat_until=day + timedelta(days=2))
    assert found(campaign, step=SCHEDULE) == []
    campaign.repeat_until = day - timedelta(days=1)
    assert len(found(campaign, step=SCHEDULE)) == 1
