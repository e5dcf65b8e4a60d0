"""Who Casa Ontano is: its brand, its shops and the people who work there, one for each role."""

from dataclasses import dataclass

import pghistory
from django.contrib.auth.hashers import make_password
from django.db import transaction

from campaigns.models import Brand, Sender
from core.models import User
from core.roles import Role
from customers.models import Channel
from inventory.models import Store

from .sizes import Size

NAME = "Casa Ontano"
DOMAIN = "casaontano.example"
WEBSITE = f"https://www.{DOMAIN}"
PASSWORD = "omnicrm-demo"  # noqa: S105 - printed for everybody to use


@dataclass(frozen=True)
class Shop:
    code: str
    name: str
    city: str


SHOPS = (
    Shop("milano", "Milano Porta Venezia", "Milano"),
    Shop("roma", "Roma Monti", "Roma"),
    Shop("torino", "Torino Crocetta", "Torino"),
)


@dataclass(frozen=True)
class Colleague:
    login: str
    name: str
    role: str
    language: str = "en"
    shops: tuple[str, ...] = ()

    @property
    def email(self) -> str:
        return f"{self.login}@{DOMAIN}"


COLLEAGUES = (
    Colleague("manager", "Giulia Serra", Role.MARKETING_MANAGER),
    Colleague("marketer", "Luca Ferri", Role.MARKETER),
    Colleague("analyst", "Nadia Conti", Role.ANALYST),
    Colleague("store", "Marta Villa", Role.STORE_MANAGER, "it", ("milano", "torino")),
    Colleague("clerk", "Tommaso Riva", Role.STORE_CLERK, "it", ("milano",)),
    Colleague("admin", "Elena Fabbri", Role.ADMINISTRATOR),
)


@transaction.atomic
def open_house(size: Size) -> Brand:
    """The brand, its senders, the stores and the colleagues; what is there already stays as it is."""
    with pghistory.context(url="make demo"):
        stores = {shop.code: _store(shop) for shop in SHOPS}
        missing = [one for one in COLLEAGUES if not User.objects.filter(email=one.email).exists()]
        password = make_password(PASSWORD) if missing else ""  # Once: hashing is slow on purpose.
        for one in missing:
            user = User.objects.create(
                email=one.email, password=password, name=one.name, role=one.role, language=one.language
            )
            for code in one.shops:
                stores[code].staff.add(user)
        return _brand(size)


def colleague(login: str) -> User:
    """The account behind one of the logins."""
    return User.objects.get(email=f"{login}@{DOMAIN}")


def _store(shop: Shop) -> Store:
    defaults = {"name": shop.name, "city": shop.city, "country": "IT"}
    store, _created = Store.objects.get_or_create(code=shop.code, defaults=defaults)
    return store


def _brand(size: Size) -> Brand:
    brand, created = Brand.objects.get_or_create(
        name=NAME,
        defaults={
            "website": WEBSITE,
            "postal_address": "Casa Ontano S.r.l., Via dei Tigli 18, 20129 Milano",
            "colour": "#2f5d50",
            "default_language": "it",
            "approval_above": size.approval_above,
        },
    )
    if created:
        Sender.objects.create(
            brand=brand,
            channel=Channel.EMAIL,
            name=NAME,
            address=f"ciao@{DOMAIN}",
            reply_to=f"clienti@{DOMAIN}",
        )
        Sender.objects.create(brand=brand, channel=Channel.SMS, name=NAME, address="CasaOntano")
    return brand
