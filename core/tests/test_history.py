import pytest
from allauth.mfa.models import Authenticator
from django.test import Client

from core.history import NOBODY, PAGE, Position, acting, kinds, read_history
from core.models import User
from core.roles import Role
from core.tests.factories import make_user

pytestmark = pytest.mark.django_db

HTMX = {"hx-request": "true"}


@pytest.fixture
def manager() -> User:
    return make_user(role=Role.MARKETING_MANAGER, name="Giulia Serra")


@pytest.fixture
def client(manager: User) -> Client:
    client = Client()
    client.force_login(manager)
    return client


def _rename(user: User, name: str, *, by: User | None = None) -> None:
    user.name = name
    if by is None:
        user.save()
    else:
        with acting(by):
            user.save()


def test_a_change_says_who_when_what_and_what_it_was(manager: User):
    colleague = make_user(name="Luca", role=Role.MARKETER)
    colleague.name, colleague.role = "Luca Ferri", Role.ANALYST
    with acting(manager):
        colleague.save()

    [entry, *_] = read_history(reader=manager)[0]

    assert entry.by == "Giulia Serra"
    assert (entry.kind, entry.name, entry.action) == ("Colleague", "Luca Ferri", "Changed")
    assert {(c.label, c.before, c.after) for c in entry.changes} == {
        ("Name", "Luca", "Luca Ferri"),
        ("Role", "Marketer", "Analyst"),
    }


def test_what_nobody_did_has_no_name(manager: User):
    _rename(make_user(), "Done by a task")

    [entry, *_] = read_history(reader=manager, who=NOBODY)[0]

    assert entry.by == ""
    assert entry.name == "Done by a task"


def test_a_person_behind_a_htmx_post_is_known():
    administrator = make_user(role=Role.ADMINISTRATOR, name="Giulia Serra")
    client = Client()
    client.force_login(administrator)
    colleague = make_user()

    client.post(f"/team/{colleague.pk}/", {"name": "New", "role": "analyst", "language": "en"}, headers=HTMX)

    [entry, *_] = read_history(reader=administrator, kind="core.user", pk=colleague.pk)[0]
    assert entry.by == "Giulia Serra"


def test_a_second_factor_that_goes_is_told_without_its_secret(manager: User):
    colleague = make_user(name="Luca")
    with acting(manager):
        Authenticator.objects.create(user=colleague, type="totp", data={"secret": "s3cret"})
        Authenticator.objects.filter(user=colleague).delete()

    [removed, created, *_] = read_history(reader=manager, kind="core.secondfactor")[0]

    assert (removed.action, created.action) == ("Removed", "Created")
    assert removed.name.startswith("Luca, ")
    assert "s3cret" not in repr(removed) + repr(created)


def test_only_those_who_may_open_a_thing_get_its_address(manager: User):
    colleague = make_user()
    administrator = make_user(role=Role.ADMINISTRATOR)

    assert read_history(reader=manager, kind="core.user", pk=colleague.pk)[0][0].url == ""
    assert (
        read_history(reader=administrator, kind="core.user", pk=colleague.pk)[0][0].url
        == f"/team/{colleague.pk}/"
    )


def test_pages_join_without_a_gap_or_a_repeat_even_within_one_moment(manager: User):
    """All rows of a transaction carry the same time."""
    before, _ = read_history(reader=manager)
    for number in range(PAGE + 20):
        _rename(manager, f"Name {number}")

    first, position = read_history(reader=manager)
    second, end = read_history(reader=manager, before=position)

    names = [entry.name for entry in [*first, *second]]
    assert len(first) == PAGE
    assert end is None
    assert names[: PAGE + 20] == [f"Name {number}" for number in reversed(range(PAGE + 20))]
    assert len(names) == PAGE + 20 + len(before)


def test_a_position_survives_the_address_bar():
    position = Position.parse("2026-11-22T08:30:00.123456+00:00~core.user~7")

    assert position
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize(
    "text",
    [
        "",
        "~",
        "x~core.user~7",
        "2026-11-22T08:30:00~core.user~7",
        "2026-11-22T08:30:00+00:00~no.such~7",
        "2026-11-22T08:30:00+00:00~core.user~x",
        "a" * 10_000,
        "\0",
    ],
)
def test_a_position_that_is_none_is_ignored(client: Client, text: str):
    assert Position.parse(text) is None
    assert client.get("/history/", {"before": text}).status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        {"who": "9" * 40},
        {"who": "²"},
        {"who": "1 OR 1=1"},
        {"kind": "core.user'--"},
        {"before": f"2026-11-22T08:30:00+00:00~core.user~{'9' * 40}"},
        {"who": "\0", "kind": "\0"},
    ],
)
def test_odd_filters_are_answered(client: Client, query: dict[str, str]):
    assert client.get("/history/", query).status_code == 200


def test_the_filters_are_in_the_address_and_in_the_next_page(client: Client, manager: User):
    other, rival = make_user(name="Other"), make_user(name="Rival")
    for number in range(PAGE + 1):
        _rename(other, f"Other {number}", by=manager)
        _rename(other, f"Rival's {number}", by=rival)

    page = client.get("/history/", {"who": manager.pk, "kind": "core.user"})

    assert {entry.by for entry in page.context["entries"]} == {"Giulia Serra"}
    older = page.context["older_url"]
    assert f"who={manager.pk}" in older
    assert "kind=core.user" in older
    assert [entry.name for entry in client.get(older).context["entries"]] == ["Other 0"]


def test_a_fragment_is_only_the_list(client: Client):
    page = client.get("/history/", headers=HTMX).content.decode()

    assert 'id="history"' in page
    assert "<html" not in page


def test_the_history_of_a_thing_is_for_whoever_may_see_it(client: Client):
    colleague = make_user()
    administrator = Client()
    administrator.force_login(make_user(role=Role.ADMINISTRATOR))

    assert client.get(f"/history/core.user/{colleague.pk}/").status_code == 403
    assert administrator.get(f"/history/core.user/{colleague.pk}/").status_code == 200
    assert administrator.get(f"/history/core.user/{10**30}/").status_code == 404
    assert administrator.get("/history/no.such/1/").status_code == 404


@pytest.mark.parametrize(
    ("role", "status"),
    [
        (Role.ADMINISTRATOR, 200),
        (Role.MARKETING_MANAGER, 200),
        (Role.ANALYST, 200),
        (Role.MARKETER, 403),
        (Role.STORE_MANAGER, 403),
        (Role.STORE_CLERK, 403),
    ],
)
def test_who_reads_the_history(role: str, status: int):
    client = Client()
    client.force_login(make_user(role=role))

    assert client.get("/history/").status_code == status


def test_the_page_costs_the_same_for_many_as_for_few(client: Client, manager, django_assert_num_queries):
    with django_assert_num_queries(5):
        client.get("/history/")
    for number in range(PAGE):
        _rename(make_user(), f"Name {number}", by=manager)

    with django_assert_num_queries(5):
        client.get("/history/")


def test_every_kind_of_thing_is_called_by_a_name_and_read_without_error(manager: User):
    assert {"core.user", "customers.customer", "campaigns.campaign", "inventory.workplace"} <= set(kinds())
    for kind in kinds():
        read_history(reader=manager, kind=kind)
