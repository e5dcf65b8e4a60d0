from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from campaigns.models import Breaker, ProviderReport
from core.tests.factories import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def manager(client: Client, settings: Any) -> Client:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    client.force_login(make_user(role="marketing_manager"))
    return client


def page(client: Client, **headers: str) -> str:
    answer = client.get(reverse("campaigns:providers"), headers=headers)
    assert answer.status_code == 200
    return answer.content.decode()


def bury(**fields: Any) -> ProviderReport:
    report = {
        "provider": "twilio",
        "channel": "sms",
        "kind": "delivered",
        "payload_hash": "0" * 64,
        "occurred_at": now(),
        "dead_at": now(),
        "problem": "unknown_message",
        "event_id": f"e{ProviderReport.objects.count()}",
    }
    return ProviderReport.objects.create(**{**report, **fields})


def test_each_channel_says_who_carries_it_and_that_it_works(manager):
    html = page(manager)
    assert "SMTP" in html
    assert "Sandbox" in html
    assert html.count("Works") == 2
    assert "No report was given up" in html


def test_a_provider_that_rests_says_until_when_and_why(manager):
    Breaker.objects.create(
        provider="smtp", failures=7, open_until=now() + timedelta(minutes=2), detail="421 <b>Busy</b>"
    )
    html = page(manager)
    assert "Rests until" in html
    assert "421 &lt;b&gt;Busy&lt;/b&gt;" in html
    Breaker.objects.update(open_until=now() - timedelta(seconds=1))
    assert "Rests until" not in page(manager)
    assert "Fails" in page(manager)


def test_a_provider_that_is_not_set_up_says_what_is_missing(manager, settings):
    settings.SMS_PROVIDER, settings.EMAIL_PROVIDER = "twilio", "postmark"
    settings.EMAIL_REPORTS_FROM = ["postmark"]
    settings.ANYMAIL = {"POSTMARK_SERVER_TOKEN": "x"}
    html = page(manager)
    assert html.count("Not set up") == 2
    assert "TWILIO_ACCOUNT_SID" in html
    assert "in the name of postmark" in html
    assert "/webhooks/email/postmark/" in html


def test_what_was_given_up_is_shown_by_its_reason_and_can_be_tried_again(manager):
    bury()
    bury()
    bury(problem="error", error="division by <i>zero</i>")
    unreadable = bury(problem="unreadable", kind="unreadable")
    html = page(manager)
    assert "did not leave from here" in html
    assert "division by &lt;i&gt;zero&lt;/i&gt;" in html
    assert html.count('name="problem"') == 2

    url = reverse("campaigns:reports_replay")
    answer = manager.post(url, {"provider": "twilio", "problem": "unknown_message"}, follow=True)
    assert "2 reports are tried again." in answer.content.decode()
    assert set(ProviderReport.objects.exclude(dead_at=None).values_list("problem", flat=True)) == {
        "error",
        "unreadable",
    }
    answer = manager.post(url, {"provider": "twilio", "problem": "unreadable"}, follow=True)
    assert "nothing to try again" in answer.content.decode()
    unreadable.refresh_from_db()
    assert unreadable.dead_at


def test_what_waits_says_since_when(manager):
    bury(dead_at=None, problem="", due_at=now() - timedelta(minutes=5))
    assert "1 waits to be counted, due 5" in page(manager)
    ProviderReport.objects.update(due_at=now() + timedelta(minutes=5))
    assert "1 is tried again later" in page(manager)


def test_the_page_looks_again_by_itself(manager):
    fragment = page(manager, **{"HX-Request": "true"})
    assert fragment.lstrip().startswith("<div")
    assert 'hx-trigger="every 15s"' in fragment


def test_the_page_takes_the_same_queries_however_much_was_told(manager, django_assert_num_queries):
    page(manager)
    with django_assert_num_queries(12):
        page(manager)
    for number in range(5):
        bury(event_id=f"x{number}", provider=f"provider-{number}")
    with django_assert_num_queries(12):
        page(manager)
