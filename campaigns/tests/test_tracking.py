import re
import threading
from datetime import timedelta
from email import message_from_bytes
from email.policy import default

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils.timezone import now

from campaigns import tokens, tracking
from campaigns.launches import Launch
from campaigns.lowering import Lowered, Unknown
from campaigns.models import Click, Link, Open
from campaigns.rendering import Outgoing
from campaigns.templates import TemplateProblem, check
from campaigns.tests.factories import launch, make_campaign
from campaigns.tests.test_dispatch import dispatch_everything
from customers.models import Event
from customers.tests.factories import agrees_to_open_tracking, make_customer

pytestmark = pytest.mark.django_db(transaction=True)

CHROME = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
)
APPLE = "Mozilla/5.0"
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
PIXEL = re.compile(r'<img src="http://[^"]+/o/([\w-]+)\.gif" width="1"')
THREE_LINKS = "https://brand.example/a https://brand.example/b https://brand.example/c"


def open_it(message, agent=CHROME, *, method="get"):
    token = tokens.sign(tokens.OPEN, message.pk)
    return getattr(Client(), method)(f"/o/{token}.gif", HTTP_USER_AGENT=agent)


def html_of(mail):
    return mail.get_body(("html",)).get_content()


def sent_hours_ago(campaign, hours=1):
    """The campaign's messages as if they had left some hours ago."""
    left = now() - timedelta(hours=hours)
    campaign.messages.update(status="sent", sending_at=left, sent_at=left)
    return campaign


def tracked(**fields):
    """Somebody who allows that we see which mails they open."""
    customer = make_customer(email="ada@x.example", consents=("email",), **fields)
    agrees_to_open_tracking(customer)
    return customer


# --- the pixel ---------------------------------------------------------------------------------------


def test_only_mails_to_those_who_agreed_carry_the_pixel(sink):
    tracked()
    make_customer(email="bob@x.example", consents=("email",))
    no = make_customer(email="eve@x.example", consents=("email",))
    agrees_to_open_tracking(no, state="denied")
    campaign = launch(make_campaign())

    dispatch_everything()

    written = {address: html_of(mail) for address, mail in sink.mails}
    [token] = PIXEL.findall(written["ada@x.example"])
    assert token == tokens.sign(tokens.OPEN, campaign.messages.get(address="ada@x.example").pk)
    assert 'border:0"></body>' in written["ada@x.example"]
    for address in ("bob@x.example", "eve@x.example"):
        assert "/o/" not in written[address]


def test_who_withdrew_after_planning_gets_no_pixel(sink):
    customer = tracked()
    launch(make_campaign())
    agrees_to_open_tracking(customer, state="revoked")

    dispatch_everything()

    [(_, mail)] = sink.mails
    assert "/o/" not in html_of(mail)


@pytest.mark.parametrize("tracks_opens", [True, False])
@pytest.mark.parametrize("is_lowered", [True, False])
def test_every_way_of_writing_a_mail_agrees_on_the_pixel(tracks_opens, is_lowered, monkeypatch):
    if not is_lowered:
        monkeypatch.setattr(Lowered, "_sequence", leave_it_to_liquid)
    campaign = launch(make_campaign(body="Hello {{ first_name }}, https://brand.example/a"))
    content = campaign.contents.get()
    to = ("email", "ada@x.example", content.pk, campaign.pk, 1)
    outgoing = Outgoing(1, *to, {"first_name": "A"}, tracks_opens)
    made = Launch(content, dict(Link.objects.values_list("url", "pk")))
    assert made.is_lowered == is_lowered

    in_parts = made.email(outgoing).html
    whole = html_of(message_from_bytes(made.mail(outgoing), policy=default))

    assert whole.split() == in_parts.split()
    assert len(PIXEL.findall(whole)) == tracks_opens


def leave_it_to_liquid(self, nodes):
    raise Unknown


def test_a_text_cannot_ask_for_the_pixel():
    with pytest.raises(TemplateProblem):
        check("{{ open_pixel }}")


# --- openings ----------------------------------------------------------------------------------------


def test_openings_of_people_and_machines_are_kept_apart_and_told_once():
    customer = tracked()
    message = sent_hours_ago(launch(make_campaign())).messages.get()

    for agent in (APPLE, CHROME, GMAIL, APPLE, CHROME):
        assert open_it(message, agent).status_code == 200

    kept = {one.is_machine: one for one in Open.objects.filter(message=message)}
    assert (kept[True].times, kept[True].signs, kept[True].score) == (2, ["apple_privacy"], 100)
    assert (kept[False].times, kept[False].signs) == (3, [])
    assert kept[False].opened_at < kept[False].last_opened_at
    [told] = Event.objects.filter(name="Message Opened", customer=customer)
    assert told.key == f"{message.pk}:opened"
    assert told.properties["campaign"] == message.campaign_id


def test_a_machine_that_opens_first_is_not_told():
    tracked()
    message = sent_hours_ago(launch(make_campaign())).messages.get()
    open_it(message, APPLE)
    open_it(message, CHROME, method="head")
    assert not Event.objects.filter(name="Message Opened").exists()
    assert Open.objects.get().times == 2


@pytest.mark.parametrize("state", ["revoked", "denied", None])
def test_nothing_is_noted_of_somebody_who_does_not_agree(state):
    customer = make_customer(email="ada@x.example", consents=("email",))
    if state:
        agrees_to_open_tracking(customer, state="granted")
        agrees_to_open_tracking(customer, state=state)
    message = sent_hours_ago(launch(make_campaign())).messages.get()

    assert open_it(message).status_code == 200

    assert not Open.objects.exists()
    assert not Event.objects.filter(name="Message Opened").exists()


def test_an_opening_waits_for_a_withdrawal_that_is_under_way():
    """Goes red without _HOLD_PERSON: the opening would be noted beside the withdrawal."""
    customer = tracked()
    message = sent_hours_ago(launch(make_campaign())).messages.get()

    def look() -> None:
        open_it(message)
        connection.close()

    opening = threading.Thread(target=look)
    with transaction.atomic():
        agrees_to_open_tracking(customer, state="revoked")
        opening.start()
        opening.join(1)
        assert opening.is_alive()
    opening.join(10)

    assert not opening.is_alive()
    assert not Open.objects.exists()


# --- clicks ------------------------------------------------------------------------------------------


def follow(message, url, *, at, agent=CHROME):
    """Follow a link at some moment after the mail was sent."""
    link = Link.objects.get(campaign=message.campaign_id, url=url)
    token = tokens.sign(tokens.CLICK, message.pk, link.pk)
    before = set(Click.objects.values_list("pk", flat=True))
    assert Client().get(f"/c/{token}", HTTP_USER_AGENT=agent).status_code == 302
    Click.objects.exclude(pk__in=before).update(clicked_at=at)


def clicks_of(message):
    return list(message.clicks.order_by("clicked_at").values_list("is_machine", flat=True))


def scene(body=THREE_LINKS):
    make_customer(email="ada@x.example", consents=("email",))
    campaign = sent_hours_ago(launch(make_campaign(body=body)))
    return campaign.messages.get(), now() - timedelta(minutes=30)


def test_whatever_follows_every_link_within_moments_is_a_machine_in_all_of_them():
    message, start = scene()
    for seconds, name in ((0, "a"), (3, "b"), (6, "c")):
        follow(message, f"https://brand.example/{name}", at=start + timedelta(seconds=seconds))
    follow(message, "https://brand.example/a", at=start + timedelta(minutes=10))

    assert tracking.settle_clicks() == 4

    assert clicks_of(message) == [True, True, True, False]
    assert message.clicks.order_by("clicked_at")[0].signs == ["every_link"]
    assert Event.objects.filter(name="Message Clicked").count() == 1


@pytest.mark.parametrize(
    ("body", "clicks", "expected"),
    [
        # Not every link, or not so fast.
        (THREE_LINKS, [(0, "a"), (1, "b")], [False, False]),
        (THREE_LINKS, [(0, "a"), (20, "b"), (40, "c")], [False, False, False]),
        ("https://brand.example/a https://brand.example/b", [(0, "a"), (1, "b")], [True, True]),
        ("https://brand.example/a https://brand.example/b", [(0, "a"), (4, "b")], [False, False]),
        # One link is every link: that tells nothing.
        ("https://brand.example/a", [(0, "a"), (1, "a")], [False, False]),
    ],
)
def test_a_person_may_follow_some_links_fast_or_all_of_them_slowly(body, clicks, expected):
    message, start = scene(body)
    for seconds, name in clicks:
        follow(message, f"https://brand.example/{name}", at=start + timedelta(seconds=seconds))

    tracking.settle_clicks()

    assert clicks_of(message) == expected


def test_a_click_is_told_only_when_no_other_can_change_what_it_was():
    message, _ = scene()
    follow(message, "https://brand.example/a", at=now())

    assert tracking.settle_clicks() == 0
    assert not Event.objects.filter(name="Message Clicked").exists()
    assert tracking.settle_clicks(at=now() + timedelta(seconds=11)) == 1
    assert tracking.settle_clicks(at=now() + timedelta(seconds=11)) == 0

    told = Event.objects.get(name="Message Clicked")
    assert told.occurred_at == Click.objects.get().clicked_at
    assert told.properties["url"] == "https://brand.example/a"


def test_the_links_of_one_message_are_noted_so_often_and_no_more(monkeypatch):
    monkeypatch.setattr(tracking, "MOST_CLICKS", 3)
    message, start = scene()
    for _ in range(5):
        follow(message, "https://brand.example/a", at=start)
    assert message.clicks.count() == 3
