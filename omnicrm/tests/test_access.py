"""Who reaches which address: every URL of ours, as every role, as nobody, and from another store.

A new URL needs a policy on its view and, when it has arguments, a line in `World.arguments`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from campaigns.models import Campaign
from campaigns.tests.factories import make_campaign
from core.models import User
from core.policy import PUBLIC, SIGNED_IN
from core.roles import PERMISSIONS, Role
from core.tests.factories import make_user
from customers.imports import CUSTOMERS, jobs
from customers.models import ConsentEvent, Customer, ImportRejection
from customers.tests.factories import make_customer
from inventory.models import Store
from inventory.tests.factories import make_store
from orders.imports import ORDERS
from segments.tests.factories import make_list

EXEMPT = {
    "allauth": "The sign-in library guards its own pages; core/tests/test_sign_in.py tries them.",
    "django.contrib.admin": "Guarded as a whole by SupportSite; core/tests/test_team.py tries it.",
    "django.contrib.contenttypes": "Part of the admin.",
    "django_celery_beat": "Part of the admin.",
    "django.views.generic": "Part of the admin: its redirect for old addresses.",
    "omnicrm.support": "The admin's own sign-in, which leads to ours.",
}
ADMINISTRATORS_ONLY = {"core.change_user", "core.view_user"}
# Views that decide by the thing they are asked for; the permission it takes for the one in the world.
DECIDED_INSIDE = {"core:object_history": "core.view_user"}
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


@dataclass(frozen=True)
class Address:
    name: str
    arguments: frozenset[str]
    policy: str

    @property
    def permission(self) -> str:
        return DECIDED_INSIDE.get(self.name, self.policy)

    def is_open_to(self, role: str) -> bool:
        if self.permission in (PUBLIC, SIGNED_IN) or role == Role.ADMINISTRATOR:
            return True
        return self.permission in PERMISSIONS[role]


def _views(resolver: URLResolver, namespace: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            yield from _views(pattern, pattern.namespace or namespace)
        elif not any(pattern.callback.__module__.startswith(module) for module in EXEMPT):
            name = pattern.name or str(pattern.pattern)
            yield (f"{namespace}:{name}" if namespace else name), pattern


def _addresses() -> list[Address]:
    return [
        Address(name, frozenset(pattern.pattern.converters), pattern.callback.policy)
        for name, pattern in _views(get_resolver())
        if hasattr(pattern.callback, "policy") and pattern.name
    ]


@dataclass(frozen=True)
class World:
    """One thing of every kind, the customer and its like belonging to one store."""

    store: Store
    customer: Customer
    colleague: User
    campaign: Campaign
    by_app: dict[str, dict[str, Any]]
    by_name: dict[str, dict[str, Any]]

    def url(self, address: Address) -> str:
        """The path of an address, its arguments being things of this world."""
        app = address.name.partition(":")[0]
        known = self.by_app.get(app, {}) | self.by_name.get(address.name, {})
        missing = address.arguments - known.keys()
        if missing:
            pytest.fail(f"Teach this test how to reach {address.name}: it needs {sorted(missing)}.")
        return reverse(address.name, kwargs={name: known[name] for name in address.arguments})


@pytest.fixture
def world(db: None, settings: Any, tmp_path: Any) -> World:
    settings.MEDIA_ROOT = tmp_path
    store = make_store()
    customer = make_customer(
        first_name="Chiara", home_store=store, email="chiara@example.com", consents=("email",)
    )
    colleague = make_user()
    session = UserSession.objects.create(user=colleague, session_key="k", ip="10.0.0.1")
    campaign = make_campaign()
    campaign.brand.logo.save("logo.png", ContentFile(PIXEL))
    segment = make_list(customer)
    people = SimpleUploadedFile("people.csv", b"email\nanna@example.com\n")
    bought = SimpleUploadedFile(
        "orders.csv", b"number,email,date,total\n1,anna@example.com,2026-01-02,9.90\n"
    )
    customers_file = jobs.bring_file(people, importer=CUSTOMERS, by=colleague)
    orders_file = jobs.bring_file(bought, importer=ORDERS, by=colleague)
    for job in (customers_file, orders_file):
        ImportRejection.objects.create(job=job, line=2, reason="No address", raw=["", ""])
        job.rejected = 1
        job.save()
    return World(
        store=store,
        customer=customer,
        colleague=colleague,
        campaign=campaign,
        by_app={
            "core": {"pk": colleague.pk, "session_pk": session.pk, "kind": "core.user"},
            "inventory": {"pk": colleague.pk},
            "customers": {
                "public_id": customer.public_id,
                "pk": customers_file.pk,
            },
            "orders": {
                "public_id": customer.public_id,
                "pk": orders_file.pk,
            },
            "segments": {"pk": segment.pk, "public_id": customer.public_id},
            "campaigns": {
                "pk": campaign.pk,
                "public_id": customer.public_id,
                "channel": "email",
                "language": "en",
                "token": "no-such-token",
                "esp": "mailgun",
                "message_id": 1,
            },
        },
        by_name={
            "customers:consent_undo": {"pk": ConsentEvent.objects.get().pk},
            "campaigns:brand_edit": {"pk": campaign.brand.pk},
            "campaigns:brand_logo": {"pk": campaign.brand.pk},
        },
    )


def _client(user: User | None = None) -> Client:
    client = Client(raise_request_exception=False)
    if user:
        client.force_login(user)
    return client


def _leads_to_sign_in(answer: HttpResponse) -> bool:
    return answer.status_code == 302 and answer.headers["Location"].startswith("/account/login/")


def test_every_view_of_ours_says_who_may_call_it():
    silent = [name for name, pattern in _views(get_resolver()) if not hasattr(pattern.callback, "policy")]

    assert silent == []


def test_every_permission_a_view_asks_for_is_one_somebody_has():
    """A misspelt permission would lock everybody out but administrators."""
    known = frozenset().union(*PERMISSIONS.values()) | ADMINISTRATORS_ONLY | {PUBLIC, SIGNED_IN}

    assert {
        address.name: address.permission for address in _addresses() if address.permission not in known
    } == {}


def test_the_list_of_exceptions_is_needed_in_full():
    modules = {pattern.callback.__module__ for pattern in _all_patterns(get_resolver())}

    assert [name for name in EXEMPT if not any(module.startswith(name) for module in modules)] == []


def _all_patterns(resolver: URLResolver) -> Iterator[URLPattern]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            yield from _all_patterns(pattern)
        else:
            yield pattern


@pytest.mark.parametrize("role", Role.values)
def test_each_role_opens_its_pages_and_no_other(world: World, role: str):
    client = _client(make_user(role=role, stores=[world.store]))
    surprises = {}
    for address in _addresses():
        if address.policy == PUBLIC:
            continue
        url = world.url(address)
        if address.is_open_to(role):
            status = client.get(url).status_code
            if status not in (200, 204, 302, 405, 409):
                surprises[f"GET {url}"] = status
        else:
            for method in ("get", "post", "put", "delete"):
                status = getattr(client, method)(url).status_code
                is_refused = status == 403 or (status == 405 and address.name in DECIDED_INSIDE)
                if not is_refused:
                    surprises[f"{method.upper()} {url}"] = status

    assert surprises == {}


def test_nobody_enters_without_signing_in(world: World):
    client = _client()
    surprises = []
    for address in _addresses():
        if address.policy == PUBLIC:
            continue
        url = world.url(address)
        if not _leads_to_sign_in(client.get(url)) or not _leads_to_sign_in(client.post(url)):
            surprises.append(url)
        if client.get(url, headers={"hx-request": "true"}).status_code != 401:
            surprises.append(f"{url} as a fragment")

    assert surprises == []


def test_what_is_public_opens_to_the_world(world: World):
    surprises = {}
    for address in _addresses():
        if address.policy == PUBLIC:
            answer = _client().get(world.url(address))
            if _leads_to_sign_in(answer) or answer.status_code not in (200, 302, 404, 405):
                surprises[address.name] = answer.status_code

    assert surprises == {}
    assert (
        _client()
        .get(world.url(next(a for a in _addresses() if a.name == "campaigns:brand_logo")))
        .status_code
        == 200
    )


@pytest.mark.parametrize("role", [Role.STORE_MANAGER, Role.STORE_CLERK])
def test_another_stores_things_do_not_exist_for_store_staff(world: World, role: str):
    """404, not 403: even that there is such a thing is not theirs to know."""
    client = _client(make_user(role=role, stores=[make_store()]))
    surprises = {}
    tried = 0
    for address in _addresses():
        if address.policy in (PUBLIC, SIGNED_IN) or not address.arguments or not address.is_open_to(role):
            continue
        tried += 1
        url = world.url(address)
        statuses = (client.get(url).status_code, client.post(url).status_code)
        if statuses not in ((404, 404), (404, 405), (405, 404)):
            surprises[url] = statuses

    assert tried > 3
    assert surprises == {}


def test_the_history_of_another_stores_customer_does_not_exist_either(world: World):
    path = reverse("core:object_history", kwargs={"kind": "customers.customer", "pk": world.customer.pk})

    assert _client(make_user(role=Role.STORE_CLERK, stores=[world.store])).get(path).status_code == 200
    assert _client(make_user(role=Role.STORE_CLERK, stores=[make_store()])).get(path).status_code == 404
