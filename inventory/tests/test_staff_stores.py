import pytest
from django.test import Client

from core.roles import Role
from core.tests.factories import make_user
from inventory.models import Store
from inventory.tests.factories import make_store

pytestmark = pytest.mark.django_db

HTMX = {"hx-request": "true"}


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(make_user(role=Role.ADMINISTRATOR))
    return client


def test_stores_decide_what_a_clerk_sees(client: Client):
    brera, duomo = make_store(), make_store()
    clerk = make_user(role=Role.STORE_CLERK, stores=[duomo])

    answer = client.post(f"/team/{clerk.pk}/stores/", {"stores": [brera.pk]}, headers=HTMX)

    assert answer.status_code == 200
    assert "HX-Trigger" in answer.headers
    assert list(Store.objects.visible_to(clerk)) == [brera]


def test_an_unknown_store_is_refused(client: Client):
    clerk = make_user(role=Role.STORE_CLERK)

    for stores in (["0"], ["x"], ["\0"], [str(10**30)]):
        answer = client.post(f"/team/{clerk.pk}/stores/", {"stores": stores}, headers=HTMX)
        assert answer.status_code == 422
    assert not clerk.stores.exists()


def test_a_clerk_does_not_choose_their_stores():
    clerk = make_user(role=Role.STORE_CLERK)
    store = make_store()
    client = Client()
    client.force_login(clerk)

    assert client.post(f"/team/{clerk.pk}/stores/", {"stores": [store.pk]}).status_code == 403
    assert not clerk.stores.exists()


def test_the_card_stands_on_the_colleagues_page(client: Client):
    make_store(name="Milano Brera")
    clerk = make_user(role=Role.STORE_CLERK)

    page = client.get(f"/team/{clerk.pk}/").content.decode()

    assert "Milano Brera" in page
    assert f"/team/{clerk.pk}/stores/" in page
