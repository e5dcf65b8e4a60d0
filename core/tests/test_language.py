import pytest
from django.test import Client

from core.tests.factories import make_user

PASSWORD = "a quiet evening by the sea"

pytestmark = pytest.mark.django_db


def _language_of(client: Client) -> str:
    return client.get("/account/sessions/").headers["Content-Language"]


def test_the_switch_changes_this_browser_and_the_person(client: Client):
    user = make_user(language="en")
    client.force_login(user)

    answer = client.post("/preferences/language/", {"language": "it", "next": "/start/"})

    assert answer.url == "/start/"
    user.refresh_from_db()
    assert user.language == "it"
    assert _language_of(client) == "it"


def test_after_signing_in_the_screens_speak_the_persons_language(client: Client):
    user = make_user(language="it", password=PASSWORD)
    assert client.get("/account/login/").headers["Content-Language"] == "en"

    client.post("/account/login/", {"login": user.email, "password": PASSWORD})

    assert _language_of(client) == "it"


def test_before_signing_in_the_switch_changes_only_the_browser(client: Client):
    client.post("/preferences/language/", {"language": "it"})

    assert client.get("/account/login/").headers["Content-Language"] == "it"


@pytest.mark.parametrize("language", ["", "xx", "de", "it\0", "a" * 5000])
def test_an_unknown_language_changes_nothing(client: Client, language: str):
    user = make_user(language="en")
    client.force_login(user)

    assert client.post("/preferences/language/", {"language": language}).status_code == 302
    user.refresh_from_db()
    assert user.language == "en"


def test_the_switch_leads_nowhere_else(client: Client):
    answer = client.post("/preferences/language/", {"language": "it", "next": "https://evil.example/"})

    assert answer.url == "/"
