import struct
import zlib
from datetime import timedelta
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils.timezone import localtime, now

from campaigns import services
from campaigns.models import Brand, Campaign, Click, Content, Link, Message, SandboxText, Sender
from campaigns.tests.factories import launch, make_brand, make_campaign, make_segment
from core.roles import Role
from core.tests.factories import make_user
from customers.tests.factories import make_customer
from inventory.tests.factories import make_store

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}


def sign_in(client, role=Role.MARKETING_MANAGER, **fields):
    user = make_user(role=role, **fields)
    client.force_login(user, backend="core.auth.SignInBackend")
    return user


@pytest.fixture
def manager(client):
    return sign_in(client)


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


def url(name, *args, **query):
    return reverse(f"campaigns:{name}", args=args) + (f"?{urlencode(query)}" if query else "")


def page(response):
    return " ".join(response.content.decode().split())


def reload(campaign):
    return Campaign.objects.get(pk=campaign.pk)


# --- who may -------------------------------------------------------------------------------------

MANAGER, MARKETER, ANALYST, CLERK = (
    Role.MARKETING_MANAGER,
    Role.MARKETER,
    Role.ANALYST,
    Role.STORE_CLERK,
)
# Name, method, and the answers to a marketing manager, a marketer, an analyst and a store clerk.
ACCESS = [
    ("list", "get", 200, 200, 200, 403),
    ("new", "get", 200, 200, 403, 403),
    ("new", "post", 422, 422, 403, 403),
    ("detail", "get", 200, 200, 200, 403),
    ("results", "get", 200, 200, 200, 403),
    ("people", "get", 200, 200, 200, 403),
    ("goal", "get", 200, 200, 403, 403),
    ("audience", "get", 200, 200, 403, 403),
    ("audience_count", "get", 200, 200, 200, 403),
    ("content", "get", 302, 302, 403, 403),
    ("content_add", "get", 302, 302, 403, 403),
    ("content_edit", "get", 200, 200, 403, 403),
    ("content_preview", "post", 200, 200, 200, 403),
    ("content_mail", "get", 200, 200, 200, 403),
    ("content_test", "post", 302, 302, 403, 403),
    ("content_remove", "post", 302, 302, 403, 403),
    ("preview_customers", "get", 200, 200, 200, 403),
    ("schedule", "get", 200, 200, 403, 403),
    ("review", "get", 200, 200, 200, 403),
    ("review", "post", 422, 422, 403, 403),
    ("approve", "post", 302, 403, 403, 403),
    ("unschedule", "post", 302, 302, 403, 403),
    ("pause", "post", 302, 302, 403, 403),
    ("resume", "post", 302, 302, 403, 403),
    ("cancel", "post", 302, 302, 403, 403),
    ("duplicate", "post", 302, 302, 403, 403),
    ("delete", "post", 302, 302, 403, 403),
    ("brands", "get", 200, 200, 200, 403),
    ("brand_new", "get", 200, 403, 403, 403),
    ("brand_edit", "get", 200, 403, 403, 403),
]
CONTENT_PAGES = {"content_edit", "content_preview", "content_mail", "content_test", "content_remove"}


def address_of(name, campaign):
    if name in CONTENT_PAGES:
        return url(name, campaign.pk, "email", "en")
    if name in ("list", "new", "brands", "brand_new"):
        return url(name)
    return url(name, campaign.brand_id if name == "brand_edit" else campaign.pk)


@pytest.mark.parametrize(("name", "method", "manager", "marketer", "analyst", "clerk"), ACCESS)
def test_each_page_lets_in_whom_it_should(client, name, method, manager, marketer, analyst, clerk):
    expected = {MANAGER: manager, MARKETER: marketer, ANALYST: analyst, CLERK: clerk}
    for role, code in expected.items():
        sign_in(client, role)
        response = getattr(client, method)(address_of(name, make_campaign()))
        assert response.status_code == code, role


@pytest.mark.parametrize(("name", "method"), [(row[0], row[1]) for row in ACCESS])
def test_strangers_are_sent_to_the_sign_in_page(client, name, method):
    response = getattr(client, method)(address_of(name, make_campaign()))
    assert response.status_code == 302
    assert "/login/" in response["Location"]


@pytest.mark.parametrize("name", ["approve", "pause", "cancel", "delete", "duplicate", "content_test"])
def test_what_acts_cannot_be_reached_by_looking(client, manager, name):
    assert client.get(address_of(name, make_campaign())).status_code == 405


def test_a_campaign_that_does_not_exist_is_not_found(client, manager):
    for name in ("detail", "goal", "audience", "schedule", "review", "people", "results"):
        assert client.get(url(name, 999_999)).status_code == 404
    assert client.post(url("approve", 999_999)).status_code == 404


# --- the list ------------------------------------------------------------------------------------


def test_the_list_is_narrowed_by_state_and_name(client, manager):
    make_campaign()
    launched = launch(make_campaign())
    Campaign.objects.filter(pk=launched.pk).update(name="Black week")

    assert "Black week" not in page(client.get(url("list", state="draft")))
    assert "Black week" in page(client.get(url("list", state="sending")))
    assert "Black week" in page(client.get(url("list", q="BLACK")))
    assert "Nothing here" in page(client.get(url("list", q="nobody's name")))


def test_an_empty_list_says_what_to_do(client, manager):
    assert "No campaigns yet" in page(client.get(url("list")))


def test_htmx_gets_the_table_alone(client, manager):
    make_campaign()
    assert "<html" not in page(client.get(url("list"), headers=HTMX))
    assert "<html" in page(client.get(url("list"), headers=HTMX | {"HX-History-Restore-Request": "true"}))


@pytest.mark.parametrize("query", [{"state": "x"}, {"before": "x"}, {"q": "\0"}, {"after": "9" * 40 + "-1"}])
def test_nonsense_in_the_address_is_not_an_error(client, manager, query):
    make_campaign()
    assert client.get(url("list", **query)).status_code == 200


def test_the_list_takes_the_same_queries_whatever_its_length(client, manager, django_assert_num_queries):
    make_campaign(channels=("email", "sms"))
    client.get(url("list"))
    with django_assert_num_queries(8):
        client.get(url("list"))
    for _ in range(8):
        launch(make_campaign(channels=("email", "sms")))
    with django_assert_num_queries(8):
        client.get(url("list"))


# --- the wizard ------------------------------------------------------------------------------------

EMAIL_TEXT = {
    "subject": "Hello {{ first_name | default: 'you' }}",
    "preheader": "",
    "heading": "News",
    "body": "See [the shop](https://brand.example/new)",
    "button_label": "",
    "button_url": "",
}


def email_text(brand, **fields):
    return EMAIL_TEXT | {"sender": brand.senders.get(channel="email").pk} | fields


def test_a_campaign_is_written_step_by_step_and_scheduled(client, manager):
    brand, everybody, nobody = make_brand(), make_segment(), make_segment(name="Nobody")
    for number in range(3):
        make_customer(email=f"p{number}@x.example", phone=f"+39333000100{number}", consents=("email", "sms"))

    goal = {"name": "Spring", "brand": brand.pk, "goal": "revenue", "goal_target": 500, "goal_days": 5}
    goal["holdout_percent"] = 0
    answer = client.post(url("new"), goal)
    campaign = Campaign.objects.get()
    assert answer["Location"] == url("audience", campaign.pk)

    answer = client.post(url("audience", campaign.pk), {"include": [everybody.pk]})
    assert answer["Location"] == url("content", campaign.pk)
    answer = client.post(url("content_edit", campaign.pk, "email", "en"), email_text(brand) | {"next": "1"})
    assert answer["Location"] == url("schedule", campaign.pk)
    sms = {"sender": brand.senders.get(channel="sms").pk, "body": "News: https://brand.example/s"}
    client.post(url("content_edit", campaign.pk, "sms", "en"), sms)

    send_at = localtime(now() + timedelta(days=2)).replace(second=0, microsecond=0)
    when = {"when": "later", "send_at": f"{send_at:%Y-%m-%dT%H:%M}", "respect_quiet_hours": "on"}
    answer = client.post(url("schedule", campaign.pk), when)
    assert answer["Location"] == url("review", campaign.pk)

    review = page(client.get(answer["Location"]))
    assert "to 3 people" in review
    assert "Schedule for" in review
    assert "https://brand.example/new" in review
    answer = client.post(url("review", campaign.pk), {"people": 3})
    assert answer["Location"] == url("detail", campaign.pk)
    campaign.refresh_from_db()
    assert (campaign.status, campaign.send_at, campaign.requested_by) == ("scheduled", send_at, manager)
    assert nobody not in campaign.include.all()
    assert page(client.get(url("detail", campaign.pk)))


def test_the_last_button_sends_at_once_when_no_time_was_chosen(client, manager):
    make_customer(email="ada@x.example", consents=("email",))
    campaign = make_campaign()

    assert "Send to 1 person" in page(client.get(url("review", campaign.pk)))
    client.post(url("review", campaign.pk), {"people": 1})

    assert reload(campaign).send_at <= now()
    assert reload(campaign).status == "scheduled"


def test_a_launch_to_another_number_than_was_read_is_refused(client, manager):
    campaign = make_campaign()
    for number in range(12):
        make_customer(email=f"p{number}@x.example", consents=("email",))

    response = client.post(url("review", campaign.pk), {"people": 1})

    assert response.status_code == 422
    assert "has changed since you looked" in page(response)
    assert reload(campaign).status == "draft"


@pytest.mark.parametrize("posted", [{}, {"people": ""}, {"people": "many"}, {"people": "-1"}])
def test_a_launch_without_the_number_is_refused(client, manager, posted):
    campaign = make_campaign()
    assert client.post(url("review", campaign.pk), posted).status_code == 422
    assert reload(campaign).status == "draft"


def test_a_large_launch_asks_for_its_number_typed(client, manager):
    make_customer(email="ada@x.example", consents=("email",))
    campaign = make_campaign(brand=make_brand(approval_above=0))

    assert "Type 1 to confirm" in page(client.get(url("review", campaign.pk)))
    assert client.post(url("review", campaign.pk), {"people": 1, "typed": "2"}).status_code == 422
    assert client.post(url("review", campaign.pk), {"people": 1, "typed": "1"}).status_code == 302
    assert reload(campaign).status == "approval"


def test_a_campaign_with_something_missing_says_what_and_stays(client, manager):
    campaign = make_campaign(channels=())

    review = page(client.get(url("review", campaign.pk)))
    assert "Write the text of at least one channel." in review
    response = client.post(url("review", campaign.pk), {"people": 0})

    assert response.status_code == 422
    assert reload(campaign).status == "draft"


def test_the_live_number_follows_what_is_ticked(client, manager):
    make_customer(email="ada@x.example", consents=("email",))
    make_customer(phone="+393330001000")
    campaign, everybody = make_campaign(), make_segment()

    counted = page(client.get(url("audience_count", campaign.pk, include=everybody.pk)))
    assert '<p class="big-number">2</p>' in counted
    assert "No consent for this channel" in counted
    nothing = page(client.get(url("audience_count", campaign.pk)))
    assert "Choose at least one segment" in nothing


def test_a_segment_cannot_be_both_included_and_left_out(client, manager):
    segment, campaign = make_segment(), make_campaign()
    response = client.post(url("audience", campaign.pk), {"include": segment.pk, "exclude": segment.pk})
    assert response.status_code == 422
    assert "cannot be both" in page(response)


@pytest.mark.parametrize(
    "schedule",
    [
        {"when": "later"},
        {"when": "later", "send_at": "2020-01-01T10:00"},
        {"when": "later", "send_at": "soon"},
        {"when": "later", "send_at": "2027-03-28T02:30"},  # The hour the clocks skip in Rome.
        {"when": "now", "expires_at": "2020-01-01T10:00"},
        {"when": "whenever"},
        {},
    ],
)
def test_a_time_that_cannot_be_is_refused_with_a_sentence(client, manager, schedule):
    campaign = make_campaign()
    response = client.post(url("schedule", campaign.pk), schedule)
    assert response.status_code == 422
    assert reload(campaign).send_at is None


def test_editing_a_scheduled_campaign_takes_it_back_to_draft(client, manager):
    campaign = make_campaign()
    services.schedule_campaign(campaign.pk, send_at=now() + timedelta(days=1), by=manager)

    assert "back to draft" in page(client.get(url("schedule", campaign.pk)))
    client.post(url("schedule", campaign.pk), {"when": "now"})

    assert reload(campaign).status == "draft"


def test_what_has_started_cannot_be_edited(client, manager):
    campaign = launch(make_campaign())
    for name in ("goal", "audience", "schedule"):
        assert client.post(url(name, campaign.pk), {})["Location"] == url("detail", campaign.pk)
    edit = url("content_edit", campaign.pk, "email", "en")
    assert client.post(edit, email_text(campaign.brand))["Location"] == url("detail", campaign.pk)


# --- content ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "{{ settings.SECRET_KEY }}",
        "{{ password }}",
        "{% for x in (1..1000000000) %}x{% endfor %}",
        "{% include '/etc/passwd' %}",
        "{% assign x = 'a' %}",
        "{{ first_name | append: 'x' }}",
        "{{",
        "{% if %}",
        "{{ ''.__class__.__mro__ }}",
        "{% raw %}",
        "{% if city %}" * 500,
        "x" * 20_001,
        "[here]({{ traits.link }})",
    ],
)
def test_a_text_that_cannot_be_sent_is_kept_and_explained(client, manager, text):
    campaign = make_campaign(channels=())
    edit = url("content_edit", campaign.pk, "email", "en")

    response = client.post(edit, email_text(campaign.brand, body=text))

    assert response.status_code == 422
    assert response.context["form"].errors
    assert response.context["form"]["body"].value() == text
    assert not Content.objects.exists()


@pytest.mark.parametrize(
    "text", ["{{ nonsense }}", "{{", "\x01\x0b", "</mj-text><mj-raw>", "\ue0001\ue001", ""]
)
@pytest.mark.parametrize("channel", ["email", "sms"])
def test_the_preview_of_anything_typed_is_an_answer(client, manager, text, channel):
    campaign = make_campaign(channels=())
    posted = {"subject": text, "heading": text, "body": text, "sender": "x", "customer": text}

    assert client.post(url("content_preview", campaign.pk, channel, "en"), posted).status_code == 200
    if channel == "email":
        mail = client.post(url("content_mail", campaign.pk, channel, "en"), posted)
        assert mail.status_code in (200, 422)
        assert "<script" not in mail.content.decode()


@pytest.mark.parametrize("channel", ["email", "sms"])
def test_what_is_not_written_yet_can_be_opened_and_looked_at(client, manager, channel):
    campaign = make_campaign(channels=())
    Sender.objects.all().delete()
    for name in ("content_edit", "content_mail"):
        assert client.get(url(name, campaign.pk, channel, "en")).status_code == 200
    assert client.post(url("content_preview", campaign.pk, channel, "en"), {}).status_code == 200


def test_the_preview_reads_as_the_chosen_customer(client, manager):
    ada = make_customer(first_name="Ada")
    campaign = make_campaign(channels=())
    posted = {"subject": "Ciao {{ first_name }}", "body": "Dear {{ first_name }}", "customer": ada.public_id}

    assert "Ciao Ada" in page(client.post(url("content_preview", campaign.pk, "email", "en"), posted))
    assert "Dear Ada" in page(client.post(url("content_mail", campaign.pk, "email", "en"), posted))


def test_a_customer_of_nobody_elses_shop_is_needed_to_preview(client, manager):
    """An unknown id reads as somebody we know nothing about, and says nothing of who exists."""
    campaign = make_campaign(body="Hi {{ first_name | default: 'you' }}")
    answer = client.get(url("content_mail", campaign.pk, "email", "en", customer=uuid4()))
    assert "Hi you" in page(answer)


def test_the_mail_in_the_frame_runs_nothing(client, manager):
    campaign = make_campaign(body="<script>alert(1)</script> [x](javascript:alert(1))")
    response = client.get(url("content_mail", campaign.pk, "email", "en"))

    policy = response["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "sandbox allow-popups" in policy
    assert "<script>" not in response.content.decode()
    assert 'href="javascript' not in response.content.decode()


def test_a_text_message_is_counted_with_the_links_it_will_carry(client, manager, settings):
    settings.PUBLIC_URL = "https://s.example"
    campaign = make_campaign(channels=())
    preview = url("content_preview", campaign.pk, "sms", "en")

    short = client.post(preview, {"body": "a" * 160})
    assert (short.context["preview"].size.units, short.context["preview"].size.parts) == (160, 1)
    accented = client.post(preview, {"body": "ç" * 71})
    assert accented.context["preview"].size.encoding == "ucs2"
    linked = client.post(preview, {"body": "https://a-very-long-address.example/with/a/path/of/its/own"})
    assert linked.context["preview"].text.startswith("https://s.example/c/")


def test_a_language_is_missing_until_it_is_written(client, manager):
    campaign = make_campaign(channels=("email", "sms"))
    client.post(url("content_edit", campaign.pk, "email", "it"), email_text(campaign.brand))

    assert page(client.get(url("content_edit", campaign.pk, "sms", "en"))).count(">missing<") == 1
    assert ">missing<" not in page(client.get(url("content_edit", campaign.pk, "email", "en")))
    copied = client.get(url("content_edit", campaign.pk, "email", "de", **{"from": "en"}))
    assert copied.context["form"]["subject"].value() == "Hello {{ first_name }}"


def test_adding_a_language_opens_its_editor(client, manager):
    campaign = make_campaign()
    answer = client.get(url("content_add", campaign.pk, channel="sms", language="it"))
    assert answer["Location"] == url("content_edit", campaign.pk, "sms", "it")


@pytest.mark.parametrize(("channel", "language"), [("fax", "en"), ("email", "xx"), ("email", "klingon")])
def test_a_channel_or_language_that_does_not_exist_is_not_found(client, manager, channel, language):
    assert client.get(url("content_edit", make_campaign().pk, channel, language)).status_code == 404


def test_a_sender_of_another_brand_cannot_be_chosen(client, manager):
    campaign, other = make_campaign(channels=()), make_brand()
    response = client.post(url("content_edit", campaign.pk, "email", "en"), email_text(other))
    assert response.status_code == 422
    assert response.context["form"].errors.keys() == {"sender"}


@pytest.mark.parametrize("address", ["javascript:alert(1)", "//evil.example x", "data:text/html,x"])
def test_a_button_leads_to_a_web_address_only(client, manager, address):
    campaign = make_campaign(channels=())
    text = email_text(campaign.brand, button_label="Go", button_url=address)
    assert client.post(url("content_edit", campaign.pk, "email", "en"), text).status_code == 422


@pytest.mark.django_db(transaction=True)
def test_a_test_mail_carries_what_is_typed_as_the_chosen_customer(client, sink):
    sign_in(client)
    ada = make_customer(first_name="Ada")
    campaign = make_campaign()
    posted = email_text(campaign.brand, subject="Try {{ first_name }}")
    posted |= {"to": "me@x.example", "customer": ada.public_id}

    answer = client.post(url("content_test", campaign.pk, "email", "en"), posted, headers=HTMX)

    assert answer.status_code == 200
    assert "me@x.example" in answer["HX-Trigger"]
    [(address, mail)] = sink.mails
    assert (address, mail["Subject"]) == ("me@x.example", "Try Ada")
    assert not Message.objects.exists()


def test_a_test_text_message_goes_to_a_number(client, manager):
    campaign = make_campaign(channels=("sms",))
    client.post(url("content_test", campaign.pk, "sms", "en"), {"to": "333 1234567"}, headers=HTMX)
    assert SandboxText.objects.get().to == "+393331234567"


def test_a_test_to_no_address_is_refused(client, manager):
    campaign = make_campaign()
    answer = client.post(url("content_test", campaign.pk, "email", "en"), {"to": "nobody"}, headers=HTMX)
    assert answer.status_code == 422
    assert "is not an e-mail address" in page(answer)


def test_people_to_preview_as_are_found_by_name_and_address(client, manager):
    make_customer(first_name="Chiara", last_name="Moretti", email="cm@x.example")
    campaign = make_campaign()
    for words in ("moretti chi", "cm@x"):
        assert "Chiara Moretti" in page(client.get(url("preview_customers", campaign.pk, q=words)))
    assert "Nobody found" in page(client.get(url("preview_customers", campaign.pk, q="zzz")))


def test_a_text_can_be_taken_out(client, manager):
    campaign = make_campaign(channels=("email", "sms"))
    client.post(url("content_remove", campaign.pk, "sms", "en"))
    assert campaign.contents.get().channel == "email"


# --- approval by a second person ---------------------------------------------------------------------


@pytest.fixture
def asked(client):
    """A campaign whose launch somebody asked for, above the brand's limit."""
    make_customer(email="ada@x.example", consents=("email",))
    campaign = make_campaign(brand=make_brand(approval_above=0))
    asker = sign_in(client, name="Giulia")
    client.post(url("review", campaign.pk), {"people": 1, "typed": "1"})
    return campaign, asker


def test_nobody_approves_their_own(client, asked):
    campaign, _asker = asked
    make_user(role=Role.ADMINISTRATOR, name="Luca")

    shown = page(client.get(url("detail", campaign.pk)))
    assert "Luca" in shown
    assert url("approve", campaign.pk) not in shown
    client.post(url("approve", campaign.pk))

    assert reload(campaign).status == "approval"


def test_a_second_person_lets_it_go(client, asked):
    campaign, asker = asked
    other = sign_in(client)

    assert url("approve", campaign.pk) in page(client.get(url("detail", campaign.pk)))
    client.post(url("approve", campaign.pk))

    approved = reload(campaign)
    assert (approved.status, approved.requested_by, approved.approved_by) == ("scheduled", asker, other)


def test_an_edit_after_the_approval_needs_it_again(client, asked):
    campaign, _asker = asked
    sign_in(client)
    client.post(url("approve", campaign.pk))
    client.post(url("schedule", campaign.pk), {"when": "now"})

    assert reload(campaign).status == "draft"
    assert reload(campaign).approved_revision is None
    client.post(url("review", campaign.pk), {"people": 1, "typed": "1"})
    assert reload(campaign).status == "approval"


# --- the page of a campaign ---------------------------------------------------------------------------


def test_a_campaign_is_paused_resumed_and_cancelled_by_name(client, manager):
    make_customer(email="ada@x.example", consents=("email",))
    campaign = launch(make_campaign())

    client.post(url("pause", campaign.pk))
    assert reload(campaign).status == "paused"
    client.post(url("resume", campaign.pk))
    assert reload(campaign).status == "sending"
    client.post(url("cancel", campaign.pk), {"name": "something else"})
    assert reload(campaign).status == "sending"
    client.post(url("cancel", campaign.pk), {"name": f" {campaign.name.upper()} "})
    assert reload(campaign).status == "cancelled"
    assert campaign.messages.get().reason == "cancelled"
    answer = client.post(url("pause", campaign.pk), follow=True)
    assert "cannot do that" in page(answer)


def test_a_draft_is_deleted_and_what_was_sent_is_kept(client, manager):
    draft, launched = make_campaign(), launch(make_campaign())
    assert client.post(url("delete", draft.pk))["Location"] == url("list")
    client.post(url("delete", launched.pk))
    assert list(Campaign.objects.all()) == [launched]


def test_a_copy_starts_as_a_draft(client, manager):
    campaign = launch(make_campaign(channels=("email", "sms")))
    answer = client.post(url("duplicate", campaign.pk))
    copy = Campaign.objects.exclude(pk=campaign.pk).get()
    assert answer["Location"] == url("goal", copy.pk)
    assert (copy.status, copy.contents.count(), copy.messages.count()) == ("draft", 2, 0)


def test_the_figures_are_asked_for_again_only_while_they_change(client, manager):
    make_customer(email="ada@x.example", consents=("email",))
    campaign = launch(make_campaign())
    asked = f'hx-get="{url("results", campaign.pk)}"'

    assert asked in page(client.get(url("detail", campaign.pk)))
    assert asked in page(client.get(url("results", campaign.pk), headers=HTMX))
    Campaign.objects.filter(pk=campaign.pk).update(status="sent", finished_at=now() - timedelta(days=1))
    assert asked not in page(client.get(url("results", campaign.pk), headers=HTMX))


def test_the_page_of_a_campaign_takes_the_same_queries_whatever_its_size(
    client, manager, django_assert_num_queries
):
    make_customer(email="ada@x.example", consents=("email",))
    campaign = launch(make_campaign(channels=("email", "sms")))
    client.get(url("detail", campaign.pk))
    with django_assert_num_queries(10):
        client.get(url("detail", campaign.pk))


def test_the_people_behind_a_figure_are_listed_with_the_reason(client, manager, django_assert_num_queries):
    for number in range(4):
        make_customer(email=f"p{number}@x.example", first_name=f"P{number}")
    campaign = launch(make_campaign())

    shown = page(client.get(url("people", campaign.pk, status="held", reason="no_consent")))
    assert shown.count("Not sent: No consent for this channel.") == 4
    assert "P3" in shown
    assert "Nobody here" in page(client.get(url("people", campaign.pk, status="sent")))
    with django_assert_num_queries(6):
        client.get(url("people", campaign.pk))


def test_the_people_who_clicked_are_listed(client, manager):
    make_customer(email="ada@x.example", consents=("email",), first_name="Ada")
    campaign = launch(make_campaign())
    Click.objects.create(message=campaign.messages.get(), link=Link.objects.get())
    assert "Ada" in page(client.get(url("people", campaign.pk, status="clicked")))


# --- a customer's messages --------------------------------------------------------------------------


def test_a_customers_page_tells_why_nothing_was_sent(client, manager):
    customer = make_customer(email="ada@x.example")
    launch(make_campaign())

    assert "Not sent: No consent for this channel." in page(
        client.get(url("customer_messages", customer.public_id))
    )


def test_a_message_in_quiet_hours_says_until_when_it_waits(client, manager):
    customer = make_customer(email="ada@x.example", consents=("email",))
    hour = localtime(now())
    brand = make_brand(
        quiet_from=(hour - timedelta(hours=1)).time(), quiet_until=(hour + timedelta(hours=1)).time()
    )
    launch(make_campaign(brand=brand))

    shown = page(client.get(url("customer_messages", customer.public_id)))

    assert "Waits for the end of quiet hours" in shown
    due = localtime(Message.objects.get().due_at)
    assert f"{due:%H:%M}" in shown


def test_store_staff_read_the_messages_of_their_own_customers_only(client):
    store = make_store()
    ours, theirs = make_customer(email="a@x.example", home_store=store), make_customer(email="b@x.example")
    campaign = launch(make_campaign())
    sign_in(client, CLERK, stores=[store])

    shown = client.get(url("customer_messages", ours.public_id))

    assert shown.status_code == 200
    assert campaign.name in page(shown)
    assert url("detail", campaign.pk) not in page(shown)
    assert client.get(url("customer_messages", theirs.public_id)).status_code == 404


def test_a_customers_messages_take_the_same_queries_whatever_their_number(
    client, manager, django_assert_max_num_queries
):
    customer = make_customer(email="ada@x.example", consents=("email",))
    for _ in range(5):
        launch(make_campaign(channels=("email", "sms")))
    with django_assert_max_num_queries(14):
        client.get(url("customer_messages", customer.public_id))


# --- brands ------------------------------------------------------------------------------------------


def brand_fields(**fields):
    senders = {"senders-TOTAL_FORMS": "1", "senders-INITIAL_FORMS": "0"}
    return {
        "name": "Lume",
        "postal_address": "Via Roma 1, Milano",
        "colour": "#8a3324",
        "timezone": "Europe/Rome",
        "default_language": "it",
        "quiet_from": "21:00",
        "quiet_until": "08:00",
        "approval_above": "5000",
        **senders,
        **fields,
    }


def sender_fields(number=0, **fields):
    values = {"channel": "email", "name": "Lume", "address": "News@Lume.Example", "reply_to": ""} | fields
    return {f"senders-{number}-{name}": value for name, value in values.items()}


def png(width=10, height=10):
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def jpeg(width=10, height=10):
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, height, width, 3) + b"\0" * 9
    return b"\xff\xd8" + b"\xff\xe0" + struct.pack(">H", 16) + b"JFIF\0" + b"\0" * 9 + frame + b"\xff\xd9"


def test_a_brand_is_made_with_its_senders(client, manager):
    answer = client.post(url("brand_new"), brand_fields(**sender_fields()))

    assert answer["Location"] == url("brands")
    brand = Brand.objects.get()
    assert (brand.approval_above, brand.default_language) == (5000, "it")
    assert brand.senders.get().address == "news@lume.example"
    assert "Lume" in page(client.get(url("brands")))


def test_a_sender_is_changed_and_removed_where_it_is_not_used(client, manager):
    brand = make_brand()
    mail, text = brand.senders.order_by("channel")
    counts = {"senders-TOTAL_FORMS": "2", "senders-INITIAL_FORMS": "2"}
    rows = sender_fields(0, name="New name", address="new@brand.example") | {"senders-0-id": mail.pk}
    rows |= sender_fields(1, channel="sms", address="Brand") | {"senders-1-id": text.pk}
    rows |= {"senders-1-DELETE": "on"}

    client.post(url("brand_edit", brand.pk), brand_fields(**rows, **counts))

    assert brand.senders.get().address == "new@brand.example"


def test_a_sender_that_a_campaign_uses_stays(client, manager):
    brand = make_brand()
    make_campaign(brand=brand)
    mail = brand.senders.get(channel="email")
    rows = sender_fields(0, address=mail.address) | {"senders-0-id": mail.pk, "senders-0-DELETE": "on"}

    response = client.post(
        url("brand_edit", brand.pk), brand_fields(**rows, **{"senders-INITIAL_FORMS": "1"})
    )

    assert response.status_code == 422
    assert Sender.objects.filter(pk=mail.pk).exists()
    assert Brand.objects.get(pk=brand.pk).name == brand.name


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour": "red"},
        {"timezone": "Mars/Olympus"},
        {"timezone": "../../etc/passwd"},
        {"default_language": "../x"},
        {"quiet_from": "25:00"},
        {"approval_above": "-1"},
        {"website": "javascript:alert(1)"},
        {"name": ""},
        sender_fields(address="nobody"),
        sender_fields(address="più@lume.example"),
        sender_fields(channel="sms", address="A name far too long"),
        sender_fields(channel="fax"),
        {"senders-TOTAL_FORMS": "x"},
    ],
)
def test_a_brand_that_cannot_be_is_refused(client, manager, wrong):
    response = client.post(url("brand_new"), brand_fields() | wrong)
    assert response.status_code == 422
    assert not Brand.objects.exists()


@pytest.mark.parametrize(("data", "kind"), [(png(), "image/png"), (jpeg(), "image/jpeg")])
def test_a_logo_is_served_as_what_its_bytes_are(client, manager, data, kind):
    logo = SimpleUploadedFile("logo.html", data, content_type="text/html")
    client.post(url("brand_new"), brand_fields(logo=logo))

    response = client.get(url("brand_logo", Brand.objects.get().pk))

    assert response["Content-Type"] == kind
    assert response["X-Content-Type-Options"] == "nosniff"
    assert b"".join(response.streaming_content) == data


@pytest.mark.parametrize(
    "data",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>",
        b"GIF89a" + b"\0" * 50,
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        png(30_000, 30_000),
        png(0, 10),
        jpeg(30_000, 10),
        png() + b"\0" * 200 * 1024,
    ],
)
def test_what_is_not_a_small_picture_is_refused_as_a_logo(client, manager, data):
    response = client.post(url("brand_new"), brand_fields(logo=SimpleUploadedFile("logo.png", data)))
    assert response.status_code == 422
    assert "logo" in response.context["form"].errors


def test_the_logo_stands_in_the_mail_and_on_the_way_out(client, manager, settings):
    settings.PUBLIC_URL = "https://crm.example"
    campaign = make_campaign()
    campaign.brand.logo.save("logo.png", SimpleUploadedFile("logo.png", png()))

    mail = client.get(url("content_mail", campaign.pk, "email", "en")).content.decode()

    assert f"https://crm.example{url('brand_logo', campaign.brand_id)}" in mail
