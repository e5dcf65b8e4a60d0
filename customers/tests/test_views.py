import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from core.tests.factories import make_user
from customers import listing, search, services
from customers.models import Consent, ConsentEvent, Customer, Identifier, Suppression
from customers.tests.factories import make_customer, make_event
from inventory.tests.factories import make_store

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
LIST = reverse("customers:list")


@pytest.fixture
def manager(client: Client) -> Client:
    client.force_login(make_user(role="marketing_manager", name="Giulia Serra"))
    return client


def names_on(answer) -> list[str]:
    return [customer.first_name for customer in answer.context["rows"]]


def make_people(count: int, *, first: int = 0) -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    for number in range(first, first + count):
        make_customer(
            first_name=f"P{number:03}",
            email=f"p{number}@example.it",
            created_at=start + timedelta(hours=number // 3),
            consents=("email",) if number % 2 else (),
        )


def test_the_list_costs_the_same_for_one_and_for_many(manager: Client, django_assert_num_queries):
    # Session, person, last seen, stores of the filter, rows, identifiers, consents, how many.
    make_people(1)
    with django_assert_num_queries(8):
        manager.get(LIST)
    make_people(60, first=1)
    with django_assert_num_queries(8):
        manager.get(LIST)


def test_pages_by_key_show_everybody_once_there_and_back(manager: Client):
    make_people(120)
    seen, url = [], LIST
    while url:
        page = manager.get(url)
        seen.append(names_on(page))
        url = LIST + page.context["page"].older if page.context["page"].older else ""
    assert [len(names) for names in seen] == [50, 50, 20]
    assert sorted(name for names in seen for name in names) == [f"P{number:03}" for number in range(120)]

    back = manager.get(LIST + page.context["page"].newer)
    assert names_on(back) == seen[1]
    first = manager.get(LIST + back.context["page"].newer)
    assert names_on(first) == seen[0]
    assert first.context["page"].newer == ""


@pytest.mark.parametrize("query", ["before=x", "before=-", f"after={'9' * 22}-1", f"before=1-{'9' * 20}"])
def test_a_page_that_never_was_is_the_list_not_an_error(manager: Client, query: str):
    make_people(1)

    assert manager.get(f"{LIST}?{query}").status_code == 200


@pytest.mark.parametrize(
    "words", ["moretti", "CHIARA MOR", "moretti chiara", "ara@exam", "555 0101", "+39 347 555 0101", "C-77"]
)
def test_people_are_found_by_any_part_of_name_or_identifier(manager: Client, words: str):
    chiara = make_customer(
        first_name="Chiara", last_name="Moretti", email="chiara@example.it", phone="+393475550101"
    )
    Identifier.objects.create(customer=chiara, kind="user_id", value="C-77")
    make_customer(first_name="Luca", last_name="Bianchi", email="luca@example.it")

    assert names_on(manager.get(LIST, {"q": words})) == ["Chiara"]


def test_whoever_a_whole_identifier_points_at_stands_first(manager: Client):
    old = make_customer(first_name="Exact", created_at=datetime(2020, 1, 1, tzinfo=UTC))
    Identifier.objects.create(customer=old, kind="user_id", value="77")
    for number in range(3):
        make_customer(first_name=f"Part{number}", email=f"x77{number}@example.it")

    assert names_on(manager.get(LIST, {"q": "77"}))[0] == "Exact"
    assert len(names_on(manager.get(LIST, {"q": "77"}))) == 4


@pytest.mark.parametrize("words", ["%", "_", "'; drop table", "\\", "\u0000", "a" * 500])
def test_odd_searches_find_nobody(manager: Client, words: str):
    make_customer(first_name="Anna", email="anna@example.it")

    answer = manager.get(LIST, {"q": words})

    assert answer.status_code == 200


def test_the_search_can_use_the_trigram_indexes():
    people = Customer.objects.bulk_create(Customer(first_name=f"Person {number}") for number in range(3000))
    Identifier.objects.bulk_create(
        Identifier(customer=person, kind="email", value=f"p{person.pk}@example.it") for person in people
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT gin_clean_pending_list('identifier_trigram')")
        cursor.execute("ANALYZE customers_customer, customers_identifier")
        cursor.execute("SET LOCAL enable_seqscan = off")  # So few rows could as well be read all.
        cursor.execute("SET LOCAL enable_indexscan = off")
    with CaptureQueriesContext(connection) as queries:
        list(Customer.objects.matching("moretti"))

    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {queries[0]['sql']}")
        plan = str(cursor.fetchall())
    assert "customer_name_trigram" in plan
    assert "identifier_trigram" in plan


@pytest.mark.parametrize("few", [0, 1, 3, 1000])
@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("moretti", ["Dora", "Chiara", "Anna"]),
        ("anna", ["Anna"]),
        ("moretti anna", ["Anna"]),
        ("moretti example.it", ["Dora", "Chiara"]),
        ("555 0101", ["Chiara"]),
        ("nobody", []),
        ("moretti nobody", []),
    ],
)
def test_a_search_finds_the_same_people_however_common_the_words(
    manager: Client, monkeypatch: pytest.MonkeyPatch, words: str, names: list[str], few: int
):
    """With `few` at 0 every word is common, and people are met by walking through the list."""
    monkeypatch.setattr(search, "FEW", few)
    start = datetime(2025, 1, 1, tzinfo=UTC)
    for number, (first, last, email) in enumerate(
        [
            ("Anna", "Moretti", "a@posta.example"),
            ("Chiara", "Moretti", "moretti.c@example.it"),
            ("Bruno", "Bianchi", "b@example.it"),
            ("Dora", "Moretti", "dora.moretti@example.it"),
        ]
    ):
        phone = "+393475550101" if first == "Chiara" else ""
        created = start + timedelta(days=number)
        make_customer(first_name=first, last_name=last, email=email, phone=phone, created_at=created)

    assert names_on(manager.get(LIST, {"q": words})) == names


def test_a_word_too_short_for_an_index_is_looked_for_among_the_newest(
    manager: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(search, "RECENT", 2)
    for number in range(3):
        created = datetime(2025, 1, 1 + number, tzinfo=UTC)
        make_customer(first_name=f"P{number}", email=f"xq{number}@example.it", created_at=created)

    assert names_on(manager.get(LIST, {"q": "xq"})) == ["P2", "P1"]
    assert names_on(manager.get(LIST, {"q": "xq0"})) == ["P0"]


def test_filters_live_in_the_address(manager: Client):
    store = make_store()
    make_customer(first_name="A", country="IT", language="it", home_store=store, consents=("email",))
    make_customer(first_name="B", country="FR", language="fr", status="anonymous")
    make_customer(first_name="C", status="erased")

    for query, names in (
        ({}, ["B", "A"]),
        ({"country": "IT"}, ["A"]),
        ({"language": "fr"}, ["B"]),
        ({"store": store.pk}, ["A"]),
        ({"consent": "email-yes"}, ["A"]),
        ({"consent": "email-no"}, ["B"]),
        ({"status": "anonymous"}, ["B"]),
        ({"country": "IT", "consent": "sms-yes"}, []),
        ({"country": "Narnia", "store": "x", "consent": "?", "status": "erased"}, ["B", "A"]),
    ):
        assert names_on(manager.get(LIST, query)) == names, query


def test_htmx_gets_the_rows_alone_and_everybody_else_the_page(manager: Client):
    make_people(1)

    assert "<html" in manager.get(LIST).content.decode()
    fragment = manager.get(LIST, {"q": "p0"}, headers=HTMX).content.decode()
    assert "<html" not in fragment
    assert f"{reverse('customers:export')}?q=p0" in fragment  # The export follows the filters.
    restored = manager.get(LIST, headers=HTMX | {"HX-History-Restore-Request": "true"})
    assert "<html" in restored.content.decode()


def test_an_empty_house_is_invited_to_import(manager: Client):
    assert reverse("customers:import") in manager.get(LIST).content.decode()


def test_store_staff_see_their_customers_and_nobody_elses(client: Client):
    mine, theirs = make_store(), make_store()
    regular = make_customer(first_name="Mine", home_store=mine, email="mine@example.it")
    stranger = make_customer(first_name="Theirs", home_store=theirs, email="theirs@example.it")
    client.force_login(make_user(role="store_clerk", stores=[mine]))

    assert names_on(client.get(LIST)) == ["Mine"]
    assert names_on(client.get(LIST, {"q": "theirs@example.it"})) == []
    assert client.get(regular.get_absolute_url()).status_code == 200
    assert client.get(stranger.get_absolute_url()).status_code == 404
    for name in ("consent", "edit", "history"):
        url = reverse(f"customers:{name}", args=[stranger.public_id])
        assert client.post(url).status_code in (403, 404), name
    consent = reverse("customers:consent", args=[stranger.public_id])
    assert client.post(consent, {"channel": "email"}).status_code == 404


@pytest.mark.parametrize(
    ("role", "see", "edit", "export"),
    [
        ("administrator", 200, 200, 200),
        ("marketing_manager", 200, 200, 200),
        ("marketer", 200, 200, 403),
        ("analyst", 200, 403, 200),
    ],
)
def test_who_may_do_what(client: Client, role: str, see: int, edit: int, export: int):
    anna = make_customer(email="anna@example.it")
    client.force_login(make_user(role=role))

    assert client.get(anna.get_absolute_url()).status_code == see
    assert client.get(reverse("customers:edit", args=[anna.public_id])).status_code == edit
    assert client.get(reverse("customers:export")).status_code == export


def test_an_export_is_what_the_list_shows_and_holds_no_formula(manager: Client):
    formulas = {"first_name": "=HYPERLINK(1)", "last_name": "\t+1"}
    make_customer(**formulas, country="IT", phone="+393475550101", consents=("sms",))
    make_customer(first_name="Elsewhere", country="FR")

    answer = manager.get(reverse("customers:export"), {"country": "IT"})
    lines = b"".join(answer.streaming_content).decode("utf-8-sig").splitlines()

    assert len(lines) == 2
    assert lines[1].startswith(",'=HYPERLINK(1),'+1,,'+393475550101,,IT,,,")
    assert lines[1].endswith(",,yes")


def test_the_page_shows_one_timeline_over_all_channels(manager: Client, django_assert_num_queries):
    anna = make_customer(first_name="Anna", last_name="Verdi", email="anna@example.it", consents=("email",))
    make_event(anna, "Product Viewed", channel="web", properties={"name": "Camel coat"})
    clicked = {"subject": "Sale", "campaign_name": "Summer"}
    make_event(anna, "Message Clicked", channel="email", properties=clicked)
    make_event(anna, "Teleported", channel="store", properties={"to": ["odd"]})

    page = manager.get(anna.get_absolute_url()).content.decode()
    for text in ("Anna Verdi", "Looked at Camel coat", "Clicked in “Sale”", "Summer", "Teleported"):
        assert text in page
    only = manager.get(anna.get_absolute_url(), {"channel": "store"}).content.decode()
    assert "Teleported" in only
    assert "Camel coat" not in only


def test_events_with_any_properties_are_shown(manager: Client):
    anna = make_customer()
    wrong = {"total_minor": "x", "currency": 5, "quantity": [], "state": {}, "subject": {"a": 1}}
    for name in ("Order Completed", "Cart Updated", "Consent Changed", "Message Sent", "Customer Imported"):
        for odd in ({}, wrong, []):
            make_event(anna, name, channel="web", properties=odd)

    assert manager.get(anna.get_absolute_url()).status_code == 200


def test_older_events_are_a_page_away(manager: Client, django_assert_num_queries):
    anna = make_customer()
    start = datetime(2024, 1, 1, tzinfo=UTC)
    for number in range(45):
        make_event(anna, f"Event {number:02}", at=start + timedelta(days=number))

    first = manager.get(anna.get_absolute_url())
    assert "Event 44" in first.content.decode()
    assert "Event 04" not in first.content.decode()
    older = manager.get(anna.get_absolute_url() + first.context["page"].older)
    assert "Event 04" in older.content.decode()


def test_a_consent_is_withdrawn_at_once_and_can_be_taken_back(manager: Client):
    anna = make_customer(email="anna@example.it", consents=("email",))
    url = reverse("customers:consent", args=[anna.public_id])

    answer = manager.post(url, {"channel": "email", "purpose": "marketing", "state": "revoked"}, headers=HTMX)

    assert answer.status_code == 200
    assert Consent.objects.get(customer=anna, channel="email").state == "revoked"
    said = ConsentEvent.objects.latest("pk")
    assert said.actor.name == "Giulia Serra"
    assert said.evidence == "recorded on the customer's page by Giulia Serra"
    toast = json.loads(answer["HX-Trigger"])["toast"]
    assert toast["target"] == "#consents"

    assert manager.post(toast["undo"], headers=HTMX).status_code == 200
    assert Consent.objects.get(customer=anna, channel="email").state == "granted"
    assert ConsentEvent.objects.filter(customer=anna).count() == 3
    again = manager.post(toast["undo"], headers=HTMX)
    assert again.status_code == 422
    assert "no longer be undone" in again.content.decode()


def test_a_consent_is_given_only_with_how(manager: Client):
    anna = make_customer(phone="+393475550101")
    url = reverse("customers:consent", args=[anna.public_id])
    said = {"channel": "sms", "purpose": "marketing", "state": "granted"}

    refused = manager.post(url, said, headers=HTMX)
    assert refused.status_code == 422
    assert "Say how" in refused.content.decode()
    assert manager.post(url, said | {"source": "phone"}, headers=HTMX).status_code == 200
    assert ConsentEvent.objects.get().source == "Said on the phone"


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"channel": "fax", "purpose": "marketing", "state": "revoked"},
        {"channel": "email", "purpose": "profiling", "state": "revoked"},
        {"channel": "email", "purpose": "marketing", "state": "maybe"},
    ],
)
def test_a_consent_that_is_none_is_refused(manager: Client, said: dict[str, str]):
    anna = make_customer()

    answer = manager.post(reverse("customers:consent", args=[anna.public_id]), said, headers=HTMX)

    assert answer.status_code == 422
    assert not ConsentEvent.objects.exists()


def test_only_who_recorded_a_consent_takes_it_back():
    anna = make_customer()
    mine = services.record_consent(
        anna.pk, channel="email", state="granted", source="till", by=make_user(name="One")
    )

    from core.errors import DomainError

    with pytest.raises(DomainError):
        services.take_back_statement(mine.pk, by=make_user(name="Other"))


def test_a_blocked_address_says_why(manager: Client):
    anna = make_customer(email="anna@example.it", consents=("email",))
    services.suppress_address(channel="email", address="anna@example.it", reason="bounced")

    assert Suppression.objects.count() == 1
    assert "Blocked: Address does not exist" in manager.get(anna.get_absolute_url()).content.decode()


def test_without_scripts_a_switch_is_a_plain_form(manager: Client):
    anna = make_customer(email="anna@example.it", consents=("email",))
    url = reverse("customers:consent", args=[anna.public_id])

    answer = manager.post(url, {"channel": "email", "purpose": "marketing", "state": "revoked"})

    assert answer.url == anna.get_absolute_url()
    assert Consent.objects.get().state == "revoked"


def test_details_are_corrected_and_the_history_says_by_whom(manager: Client):
    anna = make_customer(first_name="Ana", email="anna@example.it")
    url = reverse("customers:edit", args=[anna.public_id])
    details = {"first_name": "Anna", "language": "it", "country": "IT", "timezone": "europe/rome"}

    assert manager.post(url, details).status_code == 302
    anna.refresh_from_db()
    assert (anna.first_name, anna.timezone) == ("Anna", "Europe/Rome")
    page = manager.get(reverse("customers:history", args=[anna.public_id])).content.decode()
    assert "Giulia Serra" in page
    assert "Ana" in page


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timezone", "Mars/Olympus"),
        ("country", "Narnia"),
        ("language", "klingon"),
        ("birth_date", "2999-01-01"),
        ("home_store", "999"),
        ("first_name", "x" * 101),
    ],
)
def test_details_that_make_no_sense_are_refused(manager: Client, field: str, value: str):
    anna = make_customer(first_name="Anna")

    answer = manager.post(reverse("customers:edit", args=[anna.public_id]), {"first_name": "A", field: value})

    assert answer.status_code == 422
    anna.refresh_from_db()
    assert anna.first_name == "Anna"


def test_a_store_manager_cannot_give_a_customer_away(client: Client):
    mine, theirs = make_store(), make_store()
    anna = make_customer(first_name="Anna", home_store=mine)
    client.force_login(make_user(role="store_manager", stores=[mine]))
    url = reverse("customers:edit", args=[anna.public_id])

    assert client.post(url, {"first_name": "Anna", "home_store": theirs.pk}).status_code == 422
    assert client.post(url, {"first_name": "Anna", "home_store": ""}).status_code == 422
    assert client.post(url, {"first_name": "Anna", "home_store": mine.pk}).status_code == 302


def test_erased_customers_have_no_page(manager: Client):
    assert manager.get(make_customer(status="erased").get_absolute_url()).status_code == 404


def test_the_page_costs_the_same_for_a_stranger_and_a_regular(manager: Client, django_assert_num_queries):
    anna = make_customer(email="anna@example.it", phone="+393475550101", consents=("email", "sms"))
    for number in range(10):
        make_event(anna, f"Event {number}")

    # Session, person, last seen; customer, channels, events, identifiers, consents, suppressions, orders.
    with django_assert_num_queries(10):
        manager.get(anna.get_absolute_url())


def test_a_large_list_is_estimated_not_counted(manager: Client, monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(listing, "COUNT_LIMIT", 3)
    make_people(5)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE customers_customer")

    with django_assert_num_queries(8):  # As many as a short list.
        page = manager.get(LIST)
    assert "About 5 customers" in page.content.decode()
    assert "More than 3 customers" in manager.get(LIST, {"q": "p0"}).content.decode()
    assert "1 customer" in manager.get(LIST, {"q": "p004"}).content.decode()
