import pytest
from django.test import Client

from campaigns.models import Campaign
from campaigns.tests.factories import make_brand
from core.models import User
from core.roles import Role
from core.tests.factories import make_user
from customers.tests.factories import make_customer
from inventory.tests.factories import make_store
from orders.tests.factories import make_order
from segments.tests.factories import make_segment

pytestmark = pytest.mark.django_db


def _find(user: User, query: str) -> dict[str, list[str]]:
    """Group title to labels, as the palette shows them to this person."""
    client = Client()
    client.force_login(user)
    answer = client.get("/search/", {"q": query}, headers={"hx-request": "true"})
    assert answer.status_code == 200
    return {group.title: [item.label for item in group.items] for group in answer.context["groups"]}


@pytest.fixture
def house() -> None:
    """One thing of every kind with “lume” in its name."""
    chiara = make_customer(first_name="Chiara", last_name="Lumelli", email="chiara@example.com")
    make_order(chiara, number="BL-20931")
    make_segment(name="Friends of Lume")
    Campaign.objects.create(name="Lume in autumn", brand=make_brand())


@pytest.mark.parametrize("query", ["lumelli", "CHIARA lum", "chiara@exa", " lumelli "])
def test_a_customer_is_found_by_part_of_a_name_or_an_address(house, query: str):
    assert _find(make_user(), query)["Customers"] == ["Chiara Lumelli"]


def test_one_word_finds_things_of_every_kind(house):
    assert _find(make_user(), "lume") == {
        "Customers": ["Chiara Lumelli"],
        "Segments": ["Friends of Lume"],
        "Campaigns": ["Lume in autumn"],
    }


def test_an_order_is_found_by_its_number_and_leads_to_the_customer(house):
    assert _find(make_user(), "BL-20931") == {"Orders": ["BL-20931"]}


def test_nothing_asked_shows_what_there_is_to_do_and_where_to_go():
    found = _find(make_user(role=Role.MARKETER), "")

    assert "Create campaign" in found["Actions"]
    assert "Segments" in found["Pages"]
    assert "Team" not in found["Pages"]
    assert "Add colleague" not in found["Actions"]


def test_a_greater_than_sign_asks_for_actions_only(house):
    make_segment(name="Create nothing")

    assert _find(make_user(), "> create seg") == {"Actions": ["Create segment"]}
    assert set(_find(make_user(), ">")) == {"Actions", "Pages"}


def test_everybody_finds_only_what_they_may_see(house):
    brera, duomo = make_store(), make_store()
    mine = make_customer(first_name="Anna", last_name="Lumen", home_store=brera)
    theirs = make_customer(first_name="Bea", last_name="Lumen", home_store=duomo)
    make_order(mine, number="77001")
    make_order(theirs, number="77002")
    clerk = make_user(role=Role.STORE_CLERK, stores=[brera])

    assert _find(clerk, "lume") == {"Customers": ["Anna Lumen"]}
    assert _find(clerk, "77001") == {"Orders": ["77001"]}
    assert _find(clerk, "77002") == {}
    assert _find(clerk, "")["Pages"] == ["Customers"]


def test_administrators_may_do_everything():
    found = _find(make_user(role=Role.ADMINISTRATOR), ">")

    assert "Add colleague" in found["Actions"]
    assert {"Team", "History", "Imports"} <= set(found["Pages"])


@pytest.mark.parametrize(
    "query",
    [
        "\0",
        "a\0b",
        "%",
        "___",
        "\\",
        "'; DROP TABLE",
        "x" * 10_000,
        "1 " * 5_000,
        "🙂🙂🙂",
        "\ud83d".encode("utf-16", "surrogatepass").decode("latin-1"),
        "> \0",
    ],
)
def test_odd_input_finds_nothing_and_harms_nothing(house, query: str):
    found = _find(make_user(), query)

    assert not {"Customers", "Orders", "Segments", "Campaigns"} & set(found)


def test_it_costs_five_queries_of_its_own_whatever_it_finds(house, django_assert_num_queries):
    for number in range(10):
        customer = make_customer(
            first_name="Chiara", last_name=f"Lume 1{number}", email=f"c{number}@example.com"
        )
        make_order(customer, number=f"Lume 1{number}")
        make_segment(name=f"Lume 1{number}")
    client = Client()
    client.force_login(make_user())

    with django_assert_num_queries(3 + 5):  # Session, person and browser come first.
        client.get("/search/", {"q": "Lume 11"})
    with django_assert_num_queries(3):
        client.get("/search/", {"q": ">"})
