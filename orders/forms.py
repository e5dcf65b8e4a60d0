from typing import Any

from babel.numbers import get_currency_name
from django import forms
from django.utils.translation import get_language, gettext_lazy, to_locale
from django.utils.translation import gettext as _

from customers.forms import country_choices

CURRENCIES = ("EUR", "USD", "GBP", "CHF", "SEK", "DKK", "NOK", "PLN", "CZK", "HUF", "RON", "JPY")


class OrderOptionsForm(forms.Form):
    """What an order file does not say itself."""

    source = forms.SlugField(
        max_length=50,
        initial="import",
        label=gettext_lazy("System that owns the order numbers"),
        help_text=gettext_lazy("A short name such as “shop” or “till”: numbers are unique within it."),
    )
    currency = forms.ChoiceField(label=gettext_lazy("Currency of amounts without one"))
    decimal_mark = forms.ChoiceField(
        required=False,
        label=gettext_lazy("How amounts are written"),
        choices=[
            ("", gettext_lazy("As each amount shows")),
            (".", "1,234.50"),
            (",", "1.234,50"),
        ],
    )
    country = forms.ChoiceField(
        required=False, label=gettext_lazy("Country of phone numbers without a prefix")
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        locale = to_locale(get_language() or "en")
        names = [(code, f"{code} · {get_currency_name(code, locale=locale)}") for code in CURRENCIES]
        self.fields["currency"].choices = names  # type: ignore[attr-defined]
        country = self.fields["country"]
        country.choices = country_choices(_("As set for this house"))  # type: ignore[attr-defined]

    def needs(self, mapping: dict[str, str]) -> bool:
        """An order file needs nothing beyond its columns."""
        return True
