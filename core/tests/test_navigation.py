import pytest

from core.navigation import SECTIONS, _open_item

ITEMS = {item.url_name: item for section in SECTIONS for item in section.items}


@pytest.mark.parametrize(
    ("path", "url_name"),
    [
        ("/", "analytics:home"),
        ("/customers/", "customers:list"),
        ("/customers/5f2c0e9e-0000-4000-8000-000000000000/messages/", "customers:list"),
        ("/customers/imports/", "customers:imports"),
        ("/customers/import/7/check/", "customers:imports"),
        ("/orders/import/", "customers:imports"),
        ("/campaigns/3/review/", "campaigns:list"),
    ],
)
def test_the_item_somebody_is_in_is_lit(path, url_name):
    assert _open_item(path) is ITEMS[url_name]


def test_no_item_is_lit_where_none_belongs():
    assert _open_item("/account/sessions/") is None
