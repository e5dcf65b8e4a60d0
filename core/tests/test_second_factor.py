import pytest
from allauth.mfa.models import Authenticator
from django.test import Client

from core.tests.factories import make_user

SET_UP = "/account/2fa/"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _demanded(settings):
    settings.REQUIRE_SECOND_FACTOR = True


def test_without_a_second_factor_there_is_only_the_way_to_set_one_up(client: Client):
    client.force_login(make_user())

    for page in ("/start/", "/search/"):
        assert client.get(page).url == SET_UP
    assert client.get("/admin/").url == SET_UP
    assert client.get(SET_UP).status_code == 200
    assert client.post("/preferences/language/", {"language": "it"}).url == "/"
    assert client.post("/account/logout/").status_code == 302
    assert client.get("/healthz").status_code == 200


def test_a_fragment_takes_the_whole_page_there(client: Client):
    client.force_login(make_user())

    answer = client.get("/search/", headers={"hx-request": "true"})

    assert answer.headers["HX-Redirect"] == SET_UP


def test_with_a_second_factor_everything_opens(client: Client):
    user = make_user()
    Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={})
    client.force_login(user)

    assert client.get("/search/").status_code == 200


def test_without_the_demand_nobody_is_asked(client: Client, settings):
    settings.REQUIRE_SECOND_FACTOR = False
    client.force_login(make_user())

    assert client.get("/search/").status_code == 200
