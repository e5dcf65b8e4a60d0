import json
from datetime import timedelta
from uuid import uuid4

import pytest
from django.urls import reverse
from django.utils.timezone import localdate

from core.roles import Role
from core.tests.factories import make_user
from customers.models import Customer
from customers.tests.factories import make_customer, make_event
from inventory.tests.factories import make_store
from orders.tests.factories import make_order
from segments import membership, services
from segments.compiler import Compiled
from segments.models import Segment, SegmentDay
from segments.tests.factories import make_list, make_segment
from segments.tests.test_services import BUYERS
from segments.tree import parse_tree

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}


@pytest.fixture
def marketer(client):
    client.force_login(make_user(role=Role.MARKETER), backend="core.auth.SignInBackend")
    return client


def form(what: str = "attribute.city", name: str = "Milanesi", **fields: str) -> dict:
    """One row as the browser sends it."""
    row = {f"r1-{key}": value for key, value in fields.items()}
    return {"name": name, "layout": ["include", "r1"], "r1-what": what, "r1-was": what} | row


# --- who may --------------------------------------------------------------------------------------

SEEN = ["list", "detail", "members", "overlap", "people", "why", "customer_segments"]
WRITTEN = {
    "new": (200, 403),
    "new_list": (200, 403),
    "edit": (200, 403),
    "rename": (200, 403),
}
ACTS = [
    "archive",
    "restore",
    "duplicate",
    "members_change",
    "member_add",
    "member_remove",
    "member_release",
]
STORE_STAFF = [Role.STORE_MANAGER, Role.STORE_CLERK]
MARKETING = [Role.ADMINISTRATOR, Role.MARKETING_MANAGER, Role.MARKETER]


def address(name: str, segment: Segment, person: Customer) -> str:
    arguments = {
        "list": [],
        "people": [],
        "new": [],
        "new_list": [],
        "preview": [],
        "customer_segments": [person.public_id],
        "why": [segment.pk, person.public_id],
        "member_add": [segment.pk, person.public_id],
        "member_remove": [segment.pk, person.public_id],
        "member_release": [segment.pk, person.public_id],
    }
    return reverse(f"segments:{name}", args=arguments.get(name, [segment.pk]))


def answer(client, name: str, role: str) -> int:
    segment, person = make_list(), make_customer()
    client.force_login(make_user(role=role), backend="core.auth.SignInBackend")
    url = address(name, segment, person)
    post = name in ACTS or name in ("count", "preview")
    response = client.post(url, headers=HTMX) if post else client.get(url, headers=HTMX)
    return response.status_code


@pytest.mark.parametrize("name", [*SEEN, "count", "preview"])
@pytest.mark.parametrize("role", [*MARKETING, Role.ANALYST])
def test_marketing_sees_segments(client, name, role):
    assert answer(client, name, role) == 200


@pytest.mark.parametrize("name", [*SEEN, *WRITTEN, *ACTS, "count", "preview"])
@pytest.mark.parametrize("role", STORE_STAFF)
def test_store_staff_see_no_segment(client, name, role):
    assert answer(client, name, role) == 403


@pytest.mark.parametrize("name", [*WRITTEN, *ACTS])
def test_an_analyst_sees_segments_but_changes_none(client, name):
    assert answer(client, name, Role.ANALYST) == 403


@pytest.mark.parametrize("name", [*WRITTEN, *ACTS])
@pytest.mark.parametrize("role", MARKETING)
def test_marketing_changes_segments(client, name, role):
    assert answer(client, name, role) in (200, 302, 422)


def test_somebody_who_is_not_signed_in_is_sent_to_sign_in(client):
    response = client.get(reverse("segments:list"))
    assert response.status_code == 302
    assert response["Location"].startswith(reverse("account_login"))


def test_what_does_not_exist_is_not_found(marketer):
    segment = make_list()
    assert marketer.get(reverse("segments:detail", args=[4711])).status_code == 404
    assert marketer.get(reverse("segments:why", args=[segment.pk, uuid4()])).status_code == 404
    assert marketer.get(reverse("segments:people"), {"who": "ada", "segment": "4711"}).status_code == 404


# --- pages ----------------------------------------------------------------------------------------


def test_the_list_costs_the_same_for_one_segment_and_for_many(marketer, django_assert_max_num_queries):
    first = make_segment(name="First")
    services.count_segment(first.pk)
    for number in range(15):
        make_segment(name=f"S{number}", definition={"type": "segment", "segment": first.pk})
    with django_assert_max_num_queries(5) as asked:  # Session, user, its last visit, segments.
        page = marketer.get(reverse("segments:list"))
    assert sum("segments_segment" in query["sql"] for query in asked.captured_queries) == 1
    assert b"S14" in page.content


def test_the_list_is_searched_and_keeps_the_archive_apart(marketer):
    make_segment(name="Loyal")
    make_segment(name="Sleeping", description="no order for a year")
    archived = make_segment(name="Old")
    services.archive_segment(archived.pk, by=None)
    found = marketer.get(reverse("segments:list"), {"q": "ORDER"}, headers=HTMX).content.decode()
    assert "Sleeping" in found
    assert "Loyal" not in found
    assert "<html" not in found
    assert "Old" in marketer.get(reverse("segments:list"), {"state": "archived"}).content.decode()
    assert "No segment is called" in marketer.get(reverse("segments:list"), {"q": "<x>"}).content.decode()


def test_an_empty_house_says_what_a_segment_is(marketer):
    page = marketer.get(reverse("segments:list")).content.decode()
    assert "No segments yet" in page
    assert reverse("segments:new") in page


def test_a_page_of_members_leads_to_the_next(marketer):
    people = [make_customer(first_name=f"P{n:03}") for n in range(60)]
    segment = make_list(*people)
    first = marketer.get(reverse("segments:detail", args=[segment.pk])).content.decode()
    assert "P059" in first
    assert "P009" not in first
    older = f"?before={people[10].pk}"
    assert older in first
    second = marketer.get(
        reverse("segments:members", args=[segment.pk]) + older, headers=HTMX
    ).content.decode()
    assert "P009" in second
    assert "P010" not in second
    for nonsense in ("x", "²", "9" * 40, "-1"):
        url = reverse("segments:detail", args=[segment.pk])
        assert marketer.get(url, {"before": nonsense}).status_code == 200


def test_a_slow_segment_does_not_hold_up_its_page(marketer):
    make_customer(first_name="Ada")
    segment = make_segment()
    Segment.objects.filter(pk=segment.pk).update(count_ms=9000)
    page = marketer.get(reverse("segments:detail", args=[segment.pk])).content.decode()
    assert "Ada" not in page
    assert f'hx-get="{reverse("segments:members", args=[segment.pk])}"' in page


def test_count_now_tells_the_new_figures(marketer):
    make_customer(email="a@example.com", consents=("email",))
    segment = make_segment()
    page = marketer.post(reverse("segments:count", args=[segment.pk]), headers=HTMX).content.decode()
    assert "Reachable by Email" in page
    segment.refresh_from_db()
    assert segment.match_count == 1


def test_a_count_out_of_time_is_told_kindly_on_the_page(marketer, settings, monkeypatch):
    settings.SEGMENT_WEB_TIMEOUT_MS = 50
    slow = Compiled("SELECT 1::bigint AS id FROM pg_sleep(5)", {})
    monkeypatch.setattr("segments.membership._asked_anew", lambda *asked: slow)
    monkeypatch.setattr("segments.questions.compile_tree", lambda *asked, **more: slow)
    segment = make_segment()
    response = marketer.post(reverse("segments:count", args=[segment.pk]), headers=HTMX)
    assert response.status_code == 422
    assert b"the workers are counting it" in response.content
    response = marketer.post(reverse("segments:preview"), form(op="is", value="Milano"), headers=HTMX)
    assert response.status_code == 200
    assert b"takes longer than" in response.content


def some(op: str, value: str) -> dict:
    return {"type": "attribute", "name": "last_name", "op": op, "value": value}


BOMBS = {
    "one of sixty leading wildcards": [some("contains", f"{n}zz{n}") for n in range(60)],
    "alternatives inside alternatives": [
        {"type": "all", "nodes": [{"type": "any", "nodes": [some("contains", f"{n}{m}y") for m in range(6)]}]}
        for n in range(9)
    ],
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_segment_bomb_is_stopped_and_the_house_goes_on(marketer, settings, bomb):
    name = "".join(chr(97 + n % 26) for n in range(100))
    Customer.objects.bulk_create(Customer(first_name=name, last_name=name) for _ in range(4000))
    nodes = BOMBS[bomb]
    segment = make_segment(definition={"type": "all", "nodes": [{"type": "any", "nodes": nodes}]})
    assert parse_tree(segment.definition)
    settings.SEGMENT_WEB_TIMEOUT_MS = settings.SEGMENT_TIMEOUT_MS = 20
    assert marketer.post(reverse("segments:count", args=[segment.pk]), headers=HTMX).status_code == 422
    url = reverse("segments:overlap", args=[segment.pk])
    page = marketer.get(url, {"with": make_segment().pk}, headers=HTMX).content.decode()
    assert "takes longer than" in page
    membership.refresh_due(limit=5)
    assert Segment.objects.get(pk=segment.pk).has_timed_out
    settings.SEGMENT_WEB_TIMEOUT_MS = 5000
    assert marketer.get(reverse("segments:list")).status_code == 200


def test_overlap_is_told_in_three_numbers(marketer):
    a, b = make_customer(), make_customer()
    segment, other = make_list(a, b, name="Both"), make_list(b, name="One")
    url = reverse("segments:overlap", args=[segment.pk])
    page = marketer.get(url, {"with": other.pk}, headers=HTMX).content.decode()
    assert "Only in “Both”" in page
    assert marketer.get(url, {"with": segment.pk}, headers=HTMX).status_code == 404
    assert marketer.get(url, {"with": "x"}, headers=HTMX).status_code == 200


def test_a_segment_is_archived_with_a_way_back(marketer):
    segment = make_segment(name="Old")
    response = marketer.post(reverse("segments:archive", args=[segment.pk]), headers=HTMX)
    toast = json.loads(response["HX-Trigger"])["toast"]
    assert toast["undo"] == reverse("segments:restore", args=[segment.pk])
    assert b"In the archive" in response.content
    marketer.post(toast["undo"], headers=HTMX)
    segment.refresh_from_db()
    assert segment.archived_at is None


def test_a_segment_in_use_stays(marketer):
    segment = make_segment(name="Base")
    make_segment(name="Above", definition={"type": "segment", "segment": segment.pk})
    page = marketer.post(reverse("segments:archive", args=[segment.pk]), follow=True).content.decode()
    assert "is used by “Above”" in page
    segment.refresh_from_db()
    assert segment.archived_at is None


def test_the_tab_of_a_customer_says_where_in_and_why_not(marketer):
    person = make_customer(first_name="Ada", city="Milano")
    make_list(person, name="Friends")
    make_segment(name="Buyers", definition=BUYERS)
    page = marketer.get(reverse("segments:customer_segments", args=[person.public_id])).content.decode()
    assert page.index("Friends") < page.index("Not in these") < page.index("Buyers")
    assert "Bought at least 2 times in the last 90 days" in page


# --- the builder ----------------------------------------------------------------------------------


def test_a_segment_is_built_and_changed(marketer):
    response = marketer.post(reverse("segments:new"), form(op="is", value="Milano", name="Milanesi"))
    segment = Segment.objects.get()
    assert response["Location"] == reverse("segments:detail", args=[segment.pk])
    city = {"type": "attribute", "name": "city", "op": "is", "value": "Milano"}
    assert segment.definition == {"type": "all", "nodes": [city]}
    edit = reverse("segments:edit", args=[segment.pk])
    assert 'value="Milano"' in marketer.get(edit).content.decode()
    marketer.post(edit, form(op="is", value="Roma"))
    segment.refresh_from_db()
    assert segment.definition["nodes"][0]["value"] == "Roma"


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_a_refused_form_comes_back_whole_with_the_reason_at_its_row(marketer, headers):
    response = marketer.post(
        reverse("segments:new"),
        form("orders.count", op="at_least", value="many", window="last", window_days="0"),
        headers=headers,
    )
    page = response.content.decode()
    assert response.status_code == 422
    assert 'value="many"' in page
    assert 'value="Milanesi"' in page
    assert "must be a whole number" in page
    assert "must be at least 1" in page
    assert not Segment.objects.exists()


def test_a_name_that_is_taken_is_said_at_the_name(marketer):
    make_segment(name="Milanesi")
    response = marketer.post(reverse("segments:new"), form(op="is", value="Milano"))
    assert response.status_code == 422
    assert "already a segment called" in response.content.decode()
    response = marketer.post(reverse("segments:new"), form(op="is", value="Milano", name=""))
    assert response.status_code == 422


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_buttons_of_the_builder_work_with_and_without_htmx(marketer, headers):
    sent = form(op="is", value="Milano") | {"do": "copy.r1"}
    response = marketer.post(reverse("segments:new"), sent, headers=headers)
    page = response.content.decode()
    assert response.status_code == 200
    assert page.count('value="Milano"') == 2
    assert ("<html" in page) == (not headers)
    assert not Segment.objects.exists()


def test_every_subject_can_be_drawn(marketer):
    make_store(name="Milano Brera")
    person = make_customer(city="Milano", country="IT", traits={"tier": "gold"})
    make_event(person, "Store Visited", properties={"shelf": 3})
    make_order(person)
    from segments.rows import what_choices

    for _title, subjects in what_choices():
        for what, _label in subjects:
            sent = form(what) | {"do": "refresh"}
            response = marketer.post(reverse("segments:new"), sent, headers=HTMX)
            assert response.status_code == 200, what
            response = marketer.post(reverse("segments:preview"), form(what), headers=HTMX)
            assert response.status_code == 200, what


def test_the_builder_offers_values_that_occur(marketer):
    make_store(name="Milano Brera")
    make_event(make_customer(), "Store Visited", properties={"shelf": 3})
    sent = form("event", filters="1") | {"do": "refresh"}
    page = marketer.post(reverse("segments:new"), sent, headers=HTMX).content.decode()
    for offered in ("Store Visited", "shelf", "Milano Brera"):
        assert f'value="{offered}"' in page or f">{offered}<" in page


def test_the_panel_counts_and_shows_people_with_the_reason(marketer):
    ada = make_customer(first_name="Ada", city="Milano", email="ada@example.com", consents=("email",))
    bo = make_customer(first_name="Bo", city="Roma")
    sent = form(op="is", value="milano") | {"person": str(bo.public_id)}
    response = marketer.post(reverse("segments:preview"), sent, headers=HTMX)
    page = response.content.decode()
    assert "person matches" in page
    assert "Ada" in page
    assert "City is milano" in page
    assert "Bo is not in" in page
    assert json.loads(response["HX-Trigger"])["announce"]["text"] == "1 person matches"
    assert not Segment.objects.exists()
    for nobody in ("x", str(uuid4())):
        sent["person"] = nobody
        assert marketer.post(reverse("segments:preview"), sent, headers=HTMX).status_code == 200
    assert ada.full_name == "Ada"


def test_the_panel_says_at_the_row_what_is_missing(marketer):
    page = marketer.post(reverse("segments:preview"), form(), headers=HTMX).content.decode()
    assert 'id="r1-error" hx-swap-oob="true">Needs a value.' in page


def test_a_panel_costs_the_same_for_one_match_and_for_many(marketer, django_assert_max_num_queries):
    for number in range(30):
        make_customer(first_name=f"P{number}", city="Milano", email=f"p{number}@example.com")
    with django_assert_max_num_queries(17):
        marketer.post(reverse("segments:preview"), form(op="is", value="Milano"), headers=HTMX)


def test_people_are_found_by_name_address_and_number(marketer):
    make_customer(first_name="Ada", last_name="Ferri", email="ada@example.com", phone="+393405550147")
    make_customer(first_name="Bo", last_name="Neri")
    for query in ("ada fer", "ADA@EX", "5550147"):
        page = marketer.get(reverse("segments:people"), {"who": query}, headers=HTMX).content.decode()
        assert "Ada Ferri" in page
        assert "Bo Neri" not in page
    for query in ("", "a", "\x00", "nobody"):
        page = marketer.get(reverse("segments:people"), {"who": query}, headers=HTMX).content.decode()
        assert "<button" not in page


# --- fixed lists ----------------------------------------------------------------------------------


def test_a_list_is_made_from_a_paste_and_says_who_was_not_found(marketer):
    make_customer(email="ada@example.com")
    response = marketer.post(
        reverse("segments:new_list"),
        {"name": "Friends", "pasted": "ada@example.com\nnobody@example.com"},
        follow=True,
    )
    page = response.content.decode()
    assert "1 person added." in page
    assert "Nobody has: nobody@example.com." in page
    assert Segment.objects.get().members.count() == 1


def test_somebody_is_taken_off_with_a_way_back(marketer):
    person = make_customer(first_name="Ada")
    segment = make_list(person)
    url = reverse("segments:member_remove", args=[segment.pk, person.public_id])
    response = marketer.post(url, headers=HTMX)
    assert not segment.members.exists()
    marketer.post(json.loads(response["HX-Trigger"])["toast"]["undo"], headers=HTMX)
    assert segment.members.get() == person


def test_a_list_takes_another_name_not_rules(marketer):
    segment = make_list(name="Friends")
    rename = reverse("segments:rename", args=[segment.pk])
    assert marketer.get(reverse("segments:edit", args=[segment.pk]))["Location"] == rename
    marketer.post(rename, {"name": "Friends of the house"})
    segment.refresh_from_db()
    assert segment.name == "Friends of the house"


def test_an_empty_paste_is_asked_for_again(marketer):
    segment = make_list()
    response = marketer.post(reverse("segments:members_change", args=[segment.pk]), {"pasted": " "})
    assert response.status_code == 422


# --- by hand --------------------------------------------------------------------------------------


def test_people_are_put_into_a_segment_by_rules_and_taken_out_with_a_way_back(marketer):
    ada = make_customer(first_name="Ada", email="ada@example.com")
    bo = make_customer(first_name="Bo", city="Milano")
    city = {"type": "attribute", "name": "city", "op": "is", "value": "Milano"}
    segment = services.count_segment(make_segment(definition=city).pk)
    detail = reverse("segments:detail", args=[segment.pk])
    change = reverse("segments:members_change", args=[segment.pk])

    page = marketer.post(change, {"pasted": "ada@example.com", "do": "in"}, follow=True).content.decode()
    assert "1 person added." in page
    assert "Added by hand by" in page

    out = reverse("segments:member_remove", args=[segment.pk, bo.public_id])
    response = marketer.post(out, headers=HTMX)
    assert "Taken out by hand by" in response.content.decode()
    toast = json.loads(response["HX-Trigger"])["toast"]
    assert toast["text"] == "Bo is out, whatever the rules say."
    why = marketer.get(reverse("segments:why", args=[segment.pk, bo.public_id]), headers=HTMX)
    assert "Bo is not in" in why.content.decode()
    assert "Taken out by hand by" in why.content.decode()
    marketer.post(toast["undo"], headers=HTMX)
    assert set(segment.spells.filter(left_at=None).values_list("customer", flat=True)) == {ada.pk, bo.pk}

    response = marketer.post(
        reverse("segments:member_release", args=[segment.pk, ada.public_id]), headers=HTMX
    )
    toast = json.loads(response["HX-Trigger"])["toast"]
    assert "Ada</a>" not in marketer.get(detail).content.decode()
    marketer.post(toast["undo"], headers=HTMX)
    assert "Ada</a>" in marketer.get(detail).content.decode()
    page = marketer.post(change, {"pasted": "ada@example.com", "do": "out"}, follow=True).content.decode()
    assert "1 person taken out." in page


def test_the_page_of_a_segment_costs_the_same_for_ten_members_and_for_many(
    marketer, django_assert_max_num_queries
):
    by = make_user(name="Giulia")
    people = [make_customer(first_name=f"P{n}", email=f"p{n}@example.com") for n in range(70)]
    segment = services.count_segment(make_segment().pk)
    services.remove_members(segment.pk, customer_ids=[one.pk for one in people[:30]], by=by)
    for back in range(3):
        SegmentDay.objects.create(segment=segment, day=localdate() - timedelta(days=back + 1), members=back)
    with django_assert_max_num_queries(25):
        page = marketer.get(reverse("segments:detail", args=[segment.pk])).content.decode()
    assert "P69" in page
    assert "Taken out by hand by Giulia" in page
    assert "30 people in all" in page
    assert "0 came in and 30 went out in 30 days" in page
    assert "segment-history-data" in page


def test_members_kept_are_shown_however_long_a_count_takes(marketer, monkeypatch):
    make_customer(first_name="Ada")
    segment = services.count_segment(make_segment().pk)
    Segment.objects.filter(pk=segment.pk).update(count_ms=9000)
    monkeypatch.setattr("segments.follower.is_behind", lambda: False)
    page = marketer.get(reverse("segments:detail", args=[segment.pk])).content.decode()
    assert "Ada" in page
    assert "in 9,000 ms" in page
    assert "next in 12" in page


def test_a_channels_reach_of_very_many_is_said_to_be_about_so_many(marketer, monkeypatch):
    monkeypatch.setattr("segments.questions.REACH_SAMPLE", 20)
    for number in range(80):
        make_customer(city="Milano", email=f"p{number}@example.com", consents=("email",))
    page = marketer.post(
        reverse("segments:preview"), form(op="is", value="Milano"), headers=HTMX
    ).content.decode()
    assert "about 80" in page
    monkeypatch.setattr("segments.questions.REACH_SAMPLE", 100)
    page = marketer.post(
        reverse("segments:preview"), form(op="is", value="Milano"), headers=HTMX
    ).content.decode()
    assert "about" not in page
