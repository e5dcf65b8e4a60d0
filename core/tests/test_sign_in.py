from datetime import timedelta

import pytest
import time_machine
from allauth.usersessions.models import UserSession
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.urls import reverse

from core.roles import Role
from core.tests.factories import make_user

PASSWORD = "a quiet evening by the sea"
SIGN_IN = "/account/login/"

pytestmark = pytest.mark.django_db


def _guess(client: Client, email: str, password: str, *, forwarded_for: str = "", address: str = "10.0.0.1"):
    return client.post(
        SIGN_IN,
        {"login": email, "password": password},
        headers={"x-forwarded-for": forwarded_for},
        REMOTE_ADDR=address,
    )


def _is_signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def test_people_sign_in_by_email_in_any_case(client: Client):
    make_user(email="sara@example.com", password=PASSWORD)

    answer = _guess(client, "Sara@Example.com", PASSWORD)

    assert answer.status_code == 302
    assert _is_signed_in(client)


def test_the_sixth_guess_for_an_account_is_refused_wherever_it_comes_from(client: Client):
    user = make_user(password=PASSWORD)
    for number in range(5):
        _guess(client, user.email, "wrong", forwarded_for=f"1.2.3.{number}", address=f"10.0.0.{number}")

    _guess(client, user.email, PASSWORD, forwarded_for="1.2.3.99", address="10.0.0.99")

    assert not _is_signed_in(client)


@time_machine.travel("2026-11-22T10:00Z", tick=False)  # However slow the machine, within one minute.
def test_a_forged_forwarded_address_buys_no_guesses(client: Client):
    """Ten a minute per address: an attacker walks through accounts and pretends to be many."""
    user = make_user(password=PASSWORD)
    for number in range(10):
        _guess(client, f"somebody{number}@example.com", "wrong", forwarded_for=f"1.2.3.{number}")

    _guess(client, user.email, PASSWORD, forwarded_for="1.2.3.99")

    assert not _is_signed_in(client)


def test_guesses_for_one_account_do_not_lock_the_others_out(client: Client):
    user = make_user(password=PASSWORD)
    for _ in range(6):
        _guess(client, "somebody@example.com", "wrong")

    _guess(client, user.email, PASSWORD, address="10.0.0.2")

    assert _is_signed_in(client)


@pytest.mark.parametrize("path", ["/account/signup/", "/account/email/"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_nobody_signs_up_or_changes_an_address_by_themselves(client: Client, path: str, method: str):
    assert getattr(client, method)(path, {"email": "new@example.com"}).status_code == 404

    client.force_login(make_user())
    assert getattr(client, method)(path, {"email": "new@example.com"}).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/account/2fa/",
        "/account/2fa/totp/activate/",
        "/account/2fa/webauthn/",
        "/account/2fa/webauthn/add/",
        "/account/sessions/",
        "/account/password/change/",
    ],
)
def test_everybody_looks_after_their_own_account(client: Client, path: str):
    user = make_user(password=PASSWORD)
    _guess(client, user.email, PASSWORD)
    client.post("/account/reauthenticate/", {"password": PASSWORD})  # Asked before anything delicate.

    assert client.get(path).status_code == 200


def test_a_session_that_is_revoked_is_over(client: Client):
    user = make_user(password=PASSWORD)
    phone = Client(headers={"user-agent": "phone"})
    for browser in (client, phone):
        _guess(browser, user.email, PASSWORD)
    assert client.get("/account/sessions/").context["session_count"] == 2

    client.post("/account/sessions/")

    assert phone.get("/start/").status_code == 302
    assert phone.get("/start/").url.startswith(SIGN_IN)
    assert client.get("/account/sessions/").context["session_count"] == 1


def test_a_browser_is_seen_once_a_minute_not_with_every_click(client: Client):
    user = make_user(password=PASSWORD)
    _guess(client, user.email, PASSWORD)
    session = UserSession.objects.get(user=user)

    client.get("/search/", REMOTE_ADDR="10.0.0.2")
    session.refresh_from_db()
    assert session.ip == "10.0.0.1"

    UserSession.objects.update(last_seen_at=session.last_seen_at - timedelta(minutes=2))
    client.get("/search/", REMOTE_ADDR="10.0.0.2")
    session.refresh_from_db()
    assert session.ip == "10.0.0.2"


def test_rows_of_permissions_and_groups_give_no_rights(client: Client):
    """What somebody may do is written in core.roles and nowhere else."""
    user = make_user(role=Role.STORE_CLERK)
    group = Group.objects.create(name="Everything")
    group.permissions.set(Permission.objects.all())
    user.groups.add(group)
    user.user_permissions.set(Permission.objects.all())
    client.force_login(user)

    assert not user.has_perm("core.view_history")
    assert client.get("/history/").status_code == 403


def test_a_page_leads_to_the_sign_in_form_and_back(client: Client):
    answer = client.get("/start/?tab=1")

    assert answer.status_code == 302
    assert answer.url == f"{SIGN_IN}?next=/start/%3Ftab%3D1"


def test_a_post_without_a_session_is_not_come_back_to(client: Client):
    answer = client.post("/start/")

    assert answer.status_code == 302
    assert answer.url == SIGN_IN


def test_a_fragment_without_a_session_says_401(client: Client):
    answer = client.get("/search/", headers={"hx-request": "true"})

    assert answer.status_code == 401
    assert answer.content == b""


def test_a_colleague_who_was_deactivated_is_out_with_the_next_request(client: Client):
    user = make_user()
    client.force_login(user)
    assert client.get("/search/").status_code == 200

    user.is_active = False
    user.save()

    assert client.get("/search/").status_code == 302


def test_one_of_my_own_browsers_is_signed_out_and_nobody_elses(client: Client):
    me, other = make_user(password=PASSWORD), make_user(password=PASSWORD)
    elsewhere, theirs = Client(), Client()
    for browser, user in ((client, me), (elsewhere, me), (theirs, other)):
        _guess(browser, user.email, PASSWORD)
        browser.get("/account/sessions/")
    mine = UserSession.objects.get(session_key=elsewhere.session.session_key)
    not_mine = UserSession.objects.get(session_key=theirs.session.session_key)

    for session in (mine, not_mine):
        client.post(reverse("core:own_session_end", args=[session.pk]))

    assert elsewhere.get("/account/sessions/").status_code == 302
    assert theirs.get("/account/sessions/").status_code == 200
    assert client.get("/account/sessions/").status_code == 200
