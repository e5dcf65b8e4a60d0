import random
import string
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from campaigns import tokens
from campaigns.models import Click, Link, Open
from campaigns.tests.factories import launch, make_brand, make_campaign
from campaigns.tests.test_dispatch import dispatch_everything
from campaigns.tracking import settle_clicks
from customers.models import ConsentEvent, ConsentState, Event
from customers.tests.factories import agrees_to_open_tracking, make_customer

pytestmark = pytest.mark.django_db

BROWSER = {"HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64) Chrome/130"}


@pytest.fixture
def stranger():
    """Somebody with no cookie of ours, whose posts carry no CSRF token."""
    return Client(enforce_csrf_checks=True)


@pytest.fixture
def message():
    """A planned mail to Ada, with one stored link."""
    make_customer(email="ada@x.example", consents=("email",), first_name="Ada", language="it")
    return launch(make_campaign(brand=make_brand(name="Lume"))).messages.get()


def click_url(message, link=None):
    link = link or Link.objects.get(campaign=message.campaign)
    return reverse("campaigns:click", args=[tokens.sign(tokens.CLICK, message.pk, link.pk)])


def unsubscribe_url(message):
    return reverse("campaigns:unsubscribe", args=[tokens.sign(tokens.UNSUBSCRIBE, message.pk)])


def open_url(message):
    return reverse("campaigns:open", args=[tokens.sign(tokens.OPEN, message.pk)])


def consent(message):
    return message.customer.consents.get(channel=message.channel).state


def altered(token, rng):
    """The token with one character changed, added or taken away."""
    alphabet = string.ascii_letters + string.digits + "-_"
    at = rng.randrange(len(token))
    kind = rng.choice(["change", "insert", "drop"])
    if kind == "drop":
        return token[:at] + token[at + 1 :]
    letter = rng.choice(alphabet.replace(token[at], ""))
    return token[:at] + letter + token[at + (kind == "change") :]


# --- links -------------------------------------------------------------------------------------


def test_a_link_leads_to_its_stored_address_and_is_noted(stranger, message):
    response = stranger.get(click_url(message), **BROWSER)

    assert response.status_code == 302
    assert response["Location"] == "https://brand.example/new"
    assert response["Referrer-Policy"] == "no-referrer"
    assert Click.objects.get().is_machine is False
    settle_clicks(at=now() + timedelta(seconds=30))
    settle_clicks(at=now() + timedelta(seconds=30))
    assert Event.objects.filter(name="Message Clicked", customer=message.customer).count() == 1


def test_a_click_by_a_scanner_is_kept_apart(stranger, message):
    assert stranger.get(click_url(message), HTTP_USER_AGENT="Barracuda Sentinel").status_code == 302
    assert stranger.head(click_url(message), **BROWSER).status_code == 302

    assert list(Click.objects.values_list("is_machine", flat=True)) == [True, True]
    assert settle_clicks(at=now() + timedelta(seconds=30)) == 2
    assert not Event.objects.filter(name="Message Clicked").exists()


def test_thousands_of_altered_tokens_open_nothing(stranger, message):
    rng = random.Random(20261122)
    agrees_to_open_tracking(message.customer)
    genuine = {
        *(url(message).rsplit("/", 1)[1] for url in (click_url, unsubscribe_url)),
        tokens.sign(tokens.OPEN, message.pk),
    }
    forged = {altered(token, rng) for token in genuine for _ in range(1500)} - genuine
    for token in forged:
        for name in (tokens.CLICK, tokens.UNSUBSCRIBE, tokens.OPEN):
            with pytest.raises(tokens.ForgedToken):
                tokens.read(name, token)
    for token in rng.sample(sorted(forged), 60):
        assert stranger.get(f"/c/{token}", **BROWSER).status_code == 404
        assert stranger.post(f"/u/{token}").status_code == 404
        assert stranger.get(f"/o/{token}.gif", **BROWSER).status_code == 404

    assert not Click.objects.exists()
    assert not Open.objects.exists()
    assert consent(message) == ConsentState.GRANTED


def test_a_token_serves_one_purpose(stranger, message):
    click, leave = click_url(message), unsubscribe_url(message)

    assert stranger.post(click.replace("/c/", "/u/")).status_code == 404
    assert stranger.get(leave.replace("/u/", "/c/")).status_code == 404


def test_a_link_of_another_campaign_is_not_followed_with_a_genuine_seal(stranger, message):
    other = Link.objects.create(campaign=make_campaign(), url="https://elsewhere.example/")

    assert stranger.get(click_url(message, other), **BROWSER).status_code == 404


@pytest.mark.parametrize(
    "token",
    ["x", "-", "a-b", "é" * 20, "1-" + "A" * 16, "%2e%2e", "0" * 300, "//evil.example", "javascript:1"],
)
def test_nonsense_instead_of_a_token_is_an_unknown_link(stranger, token):
    assert stranger.get(f"/c/{token}", **BROWSER).status_code == 404
    assert stranger.get(f"/u/{token}").status_code == 404
    assert stranger.get(f"/o/{token}.gif").status_code == 404


def test_a_link_can_only_be_read(client, message):
    assert client.post(click_url(message)).status_code == 405


# --- the way out -----------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", ["", "Microsoft SafeLinks", "Mozilla/5.0", "curl/8", "GoogleImageProxy"])
def test_looking_at_the_way_out_changes_nothing(stranger, message, agent):
    for ask in (stranger.get, stranger.head):
        assert ask(unsubscribe_url(message), HTTP_USER_AGENT=agent).status_code == 200

    assert consent(message) == ConsentState.GRANTED


def test_the_way_out_speaks_the_persons_language_and_needs_no_script(stranger, message):
    response = stranger.get(unsubscribe_url(message))

    content = response.content.decode()
    assert '<html lang="it"' in content
    assert "Lume" in content
    assert content.count("<form method=") == 1
    assert not stranger.cookies


def test_a_mail_provider_unsubscribes_with_one_post_and_repeating_changes_nothing(stranger, message):
    for _ in range(2):
        answer = stranger.post(unsubscribe_url(message), {"List-Unsubscribe": "One-Click"})
        assert answer.status_code == 200

    assert consent(message) == ConsentState.REVOKED
    said = ConsentEvent.objects.filter(customer=message.customer, state="revoked")
    assert said.get().source == "one-click unsubscribe"
    assert Event.objects.filter(name="Message Unsubscribed").count() == 1


def test_a_person_leaves_and_changes_their_mind_on_the_same_page(stranger, message):
    left = stranger.post(unsubscribe_url(message))
    assert consent(message) == ConsentState.REVOKED
    assert 'name="stay"' in left.content.decode()

    stayed = stranger.post(unsubscribe_url(message), {"stay": "1"})
    assert stayed.status_code == 200
    assert consent(message) == ConsentState.GRANTED


@pytest.mark.django_db(transaction=True)
def test_who_unsubscribed_a_moment_ago_is_not_written_to(stranger, sink, message):
    stranger.post(unsubscribe_url(message))

    dispatch_everything()

    assert sink.mails == []
    message.refresh_from_db()
    assert (message.status, message.reason) == ("suppressed", "revoked")


# --- openings --------------------------------------------------------------------------------------


def test_an_opening_is_a_tiny_picture_that_nobody_keeps(stranger, message):
    agrees_to_open_tracking(message.customer)

    answer = stranger.get(open_url(message), **BROWSER)

    assert answer.status_code == 200
    assert answer.content.startswith(b"GIF89a")
    assert len(answer.content) == 43
    assert (answer["Content-Type"], answer["Cache-Control"]) == ("image/gif", "no-store")
    assert not answer.cookies


# --- logos ----------------------------------------------------------------------------------------


def test_a_brand_without_a_logo_has_no_picture_to_serve(stranger):
    assert stranger.get(reverse("campaigns:brand_logo", args=[make_brand().pk])).status_code == 404
