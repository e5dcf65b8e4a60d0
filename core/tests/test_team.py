from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.db import connections
from django.test import Client

from core import services
from core.errors import DomainError
from core.models import User
from core.roles import Role
from core.tests.factories import make_user

PASSWORD = "a quiet evening by the sea"
HTMX = {"hx-request": "true"}

pytestmark = pytest.mark.django_db


@pytest.fixture
def administrator() -> User:
    return make_user(role=Role.ADMINISTRATOR, name="Giulia Serra")


@pytest.fixture
def client(administrator: User) -> Client:
    client = Client()
    client.force_login(administrator)
    return client


@pytest.fixture
def no_mail_server(settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1


def _browser(user: User) -> Client:
    """Somebody signed in, as the session list knows it."""
    client = Client()
    client.force_login(user)
    UserSession.objects.create(user=user, session_key=client.session.session_key, ip="10.0.0.1")
    return client


def _new(**fields: str) -> dict[str, str]:
    return {
        "name": "Luca Ferri",
        "email": "luca@example.com",
        "role": "store_clerk",
        "language": "it",
    } | fields


def _link_on(page: str) -> str:
    return page.split('value="http://testserver', 1)[1].split('"', 1)[0]


def test_a_new_colleague_chooses_a_password_by_the_link_and_it_works_once(client: Client, mailoutbox):
    page = client.post("/team/add/", _new(), follow=True).content.decode()
    link = _link_on(page)

    [mail] = mailoutbox
    assert mail.to == ["luca@example.com"]
    assert mail.subject
    assert "/account/password/reset/key/" in mail.body

    newcomer = Client()
    form = newcomer.get(link, follow=True).context["request"].path
    newcomer.post(form, {"password1": PASSWORD, "password2": PASSWORD})
    luca = User.objects.get(email="luca@example.com")
    assert luca.check_password(PASSWORD)
    assert luca.role == Role.STORE_CLERK
    assert Client().get(link, follow=True).context["token_fail"]


def test_the_link_is_shown_once(client: Client):
    first = client.post("/team/add/", _new(), follow=True).content.decode()
    again = client.get(f"/team/{User.objects.get(email='luca@example.com').pk}/").content.decode()

    assert "/account/password/reset/key/" in first
    assert "/account/password/reset/key/" not in again


def test_without_a_mail_server_the_link_is_passed_on_by_hand(client: Client, no_mail_server):
    page = client.post("/team/add/", _new(), follow=True).content.decode()

    assert "could not be sent" in page
    assert "/account/password/reset/key/" in page


@pytest.mark.parametrize("email", ["luca@example.com", "LUCA@example.com"])
def test_an_address_works_here_once(client: Client, email: str):
    make_user(email="luca@example.com")

    answer = client.post("/team/add/", _new(email=email))

    assert answer.status_code == 422
    assert answer.context["form"].errors
    assert User.objects.filter(email__iexact=email).count() == 1


def test_two_administrators_adding_the_same_person_at_once_get_a_clear_answer(administrator: User):
    make_user(email="luca@example.com")

    with pytest.raises(DomainError, match="already works here"):
        services.add_colleague(**_new(email="Luca@example.com"), by=administrator)


def test_a_change_of_role_counts_with_the_next_click(client: Client):
    colleague = make_user(role=Role.MARKETER)
    theirs = Client()
    theirs.force_login(colleague)
    assert theirs.get("/history/").status_code == 403

    client.post(f"/team/{colleague.pk}/", {"name": "Sara", "role": "analyst", "language": "en"})

    assert theirs.get("/history/").status_code == 200


@pytest.mark.parametrize("field", ["email", "is_active", "password", "is_superuser", "is_staff"])
def test_the_form_writes_nothing_it_does_not_show(client: Client, field: str):
    colleague = make_user(role=Role.MARKETER)
    before = User.objects.values().get(pk=colleague.pk)

    client.post(
        f"/team/{colleague.pk}/",
        {"name": colleague.name, "role": "marketer", "language": "en", field: "1"},
    )

    assert User.objects.values().get(pk=colleague.pk) == before


def test_deactivating_ends_the_sessions_at_once_and_can_be_undone(client: Client):
    colleague = make_user(password=PASSWORD)
    theirs = _browser(colleague)
    assert theirs.get("/search/").status_code == 200

    answer = client.post(f"/team/{colleague.pk}/deactivate/", headers=HTMX)

    assert theirs.get("/search/").status_code == 302
    assert not UserSession.objects.filter(user=colleague).exists()
    assert f'"undo": "/team/{colleague.pk}/activate/"' in answer.headers["HX-Trigger"]
    client.post(f"/team/{colleague.pk}/activate/", headers=HTMX)
    colleague.refresh_from_db()
    assert colleague.is_active
    assert theirs.get("/search/").status_code == 302  # The old session stays dead.


def test_nobody_deactivates_themselves(client: Client, administrator: User):
    make_user(role=Role.ADMINISTRATOR)

    answer = client.post(f"/team/{administrator.pk}/deactivate/", headers=HTMX)

    assert '"kind": "error"' in answer.headers["HX-Trigger"]
    administrator.refresh_from_db()
    assert administrator.is_active


def test_the_last_administrator_stays_one(client: Client, administrator: User):
    make_user(role=Role.ADMINISTRATOR, email="gone@example.com")
    User.objects.filter(email="gone@example.com").update(is_active=False)

    answer = client.post(f"/team/{administrator.pk}/", {"name": "G", "role": "marketer", "language": "en"})

    assert answer.status_code == 422
    administrator.refresh_from_db()
    assert administrator.role == Role.ADMINISTRATOR


@pytest.mark.django_db(transaction=True)
def test_two_administrators_cannot_demote_each_other_at_the_same_time():
    pair = [make_user(role=Role.ADMINISTRATOR), make_user(role=Role.ADMINISTRATOR)]
    together = Barrier(2)

    def demote(victim: User, by: User) -> bool:
        together.wait(20)
        try:
            services.change_colleague(victim.pk, name="-", role=Role.MARKETER, language="en", by=by)
        except DomainError:
            return False
        finally:
            connections.close_all()
        return True

    with ThreadPoolExecutor() as pool:
        done = list(pool.map(demote, pair, reversed(pair)))

    assert sorted(done) == [False, True]
    assert User.objects.filter(role=Role.ADMINISTRATOR, is_active=True).count() == 1


def test_a_lost_phone_is_forgotten_and_its_sessions_end(client: Client):
    colleague = make_user()
    for kind in (Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES):
        Authenticator.objects.create(user=colleague, type=kind, data={})
    theirs = _browser(colleague)

    client.post(f"/team/{colleague.pk}/second-factor/reset/")

    assert not Authenticator.objects.filter(user=colleague).exists()
    assert theirs.get("/search/").status_code == 302


def test_one_session_of_a_colleague_is_ended_without_the_others(client: Client):
    colleague = make_user()
    browsers = [_browser(colleague), _browser(colleague)]
    first = UserSession.objects.get(session_key=browsers[0].session.session_key)

    client.post(f"/team/{colleague.pk}/sessions/{first.pk}/end/")

    assert [browser.get("/search/").status_code for browser in browsers] == [302, 200]


def test_a_session_is_only_ended_in_the_name_of_its_owner(client: Client):
    colleague, other = make_user(), make_user()
    browser = _browser(other)
    session = UserSession.objects.get(user=other)

    client.post(f"/team/{colleague.pk}/sessions/{session.pk}/end/")

    assert browser.get("/search/").status_code == 200


@pytest.mark.parametrize("role", [role for role in Role if role != Role.ADMINISTRATOR])
def test_the_team_is_the_administrators_business(role: str):
    colleague = make_user(role=role)
    client = Client()
    client.force_login(colleague)

    assert client.get("/team/").status_code == 403
    assert client.get(f"/team/{colleague.pk}/").status_code == 403
    assert client.post(f"/team/{colleague.pk}/", {"name": "x", "role": "administrator"}).status_code == 403
    colleague.refresh_from_db()
    assert colleague.role == role


def test_the_list_costs_the_same_for_many_as_for_few(client: Client, django_assert_num_queries):
    make_user(role=Role.STORE_CLERK)
    with django_assert_num_queries(6):
        client.get("/team/")
    for _ in range(10):
        Authenticator.objects.create(user=make_user(), type=Authenticator.Type.TOTP, data={})

    with django_assert_num_queries(6):
        client.get("/team/")


def test_the_admin_opens_for_administrators_only(client: Client):
    assert client.get("/admin/").status_code == 200
    assert client.get("/admin/core/user/").status_code == 200

    for role in set(Role) - {Role.ADMINISTRATOR}:
        other = Client()
        other.force_login(make_user(role=role))
        assert other.get("/admin/", follow=True).status_code == 403
        assert other.get("/admin/core/user/", follow=True).status_code == 403
    assert Client().get("/admin/login/").url.startswith("/account/login/")


def test_the_admin_shows_no_secret(client: Client):
    colleague = make_user(password=PASSWORD)
    page = client.get(f"/admin/core/user/{colleague.pk}/change/").content.decode()

    assert "argon2" not in page
    assert client.get("/admin/mfa/authenticator/").status_code == 404
