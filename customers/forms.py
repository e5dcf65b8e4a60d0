from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar

from babel import Locale
from django import forms
from django.conf import settings
from django.template.defaultfilters import filesizeformat
from django.utils.translation import get_language, gettext_lazy, pgettext_lazy, to_locale
from django.utils.translation import gettext as _

from inventory.models import Store

from .imports import cells
from .imports.fields import TRAIT, BadMapping, Field, check_mapping
from .imports.people import CONSENTS
from .models import Channel, Customer, ImportJob

if TYPE_CHECKING:
    from core.models import User

Choices = list[tuple[str, Any]]
CONSENT_FILTERS: Choices = [
    ("email-yes", gettext_lazy("Email: yes")),
    ("email-no", gettext_lazy("Email: no")),
    ("sms-yes", gettext_lazy("SMS: yes")),
    ("sms-no", gettext_lazy("SMS: no")),
]


def country_choices(empty: str) -> Choices:
    """Every country by its name in the reader's language."""
    names = _locale().territories
    codes = {code: names.get(code, code) for code in cells.country_codes()}
    return [("", empty), *sorted(codes.items(), key=lambda item: _sortable(item[1]))]


def language_choices(empty: str) -> Choices:
    """Every language of ISO 639-1 by its name in the reader's language."""
    names = _locale().languages
    codes = {code: names.get(code, code).capitalize() for code in cells.language_codes()}
    return [("", empty), *sorted(codes.items(), key=lambda item: _sortable(item[1]))]


def _locale() -> Locale:
    return Locale.parse(to_locale(get_language() or settings.LANGUAGE_CODE))


def _sortable(name: str) -> str:
    return name.casefold().replace("å", "a").replace("é", "e").replace("ô", "o")


class CustomerFilterForm(forms.Form):
    """What the list is narrowed to; lives in the address of the page. Nonsense narrows nothing."""

    q = forms.CharField(max_length=100, required=False)
    country = forms.ChoiceField(required=False, label=gettext_lazy("Country"))
    language = forms.ChoiceField(required=False, label=gettext_lazy("Language"))
    store = forms.ModelChoiceField(Store.objects.none(), required=False, label=gettext_lazy("Home store"))
    consent = forms.ChoiceField(required=False, label=gettext_lazy("Consent"))
    status = forms.ChoiceField(required=False, label=gettext_lazy("Status"))

    def __init__(self, *args: Any, user: "User", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = {
            "country": country_choices(_("All countries")),
            "language": language_choices(_("All languages")),
            "consent": [("", _("Any consent")), *CONSENT_FILTERS],
            "status": [
                ("", _("Any status")),
                (Customer.Status.KNOWN, Customer.Status.KNOWN.label),
                (Customer.Status.ANONYMOUS, Customer.Status.ANONYMOUS.label),
            ],
        }
        for name, values in choices.items():
            self.fields[name].choices = values  # type: ignore[attr-defined]
        store = self.fields["store"]
        store.queryset = Store.objects.visible_to(user)  # type: ignore[attr-defined]
        store.empty_label = _("All stores")  # type: ignore[attr-defined]
        for name, field in self.fields.items():
            if name != "q":
                field.widget.attrs["aria-label"] = field.label

    def chosen(self) -> dict[str, Any]:
        """The filters that are set and make sense."""
        self.is_valid()
        return {name: value for name, value in self.cleaned_data.items() if value}


class CustomerForm(forms.ModelForm):
    """What staff may say about a customer."""

    class Meta:
        model = Customer
        fields = (
            "first_name",
            "last_name",
            "language",
            "birth_date",
            "city",
            "country",
            "timezone",
            "home_store",
        )
        widgets: ClassVar[dict[str, forms.Widget]] = {
            "birth_date": forms.DateInput({"type": "date"}, format="%Y-%m-%d"),
            "timezone": forms.TextInput({"list": "timezones", "autocomplete": "off"}),
            "language": forms.Select(),
            "country": forms.Select(),
        }
        help_texts: ClassVar[dict[str, Any]] = {"language": "", "country": "", "timezone": ""}

    def __init__(self, *args: Any, user: "User", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["language"].widget.choices = language_choices(_("Not known"))
        self.fields["country"].widget.choices = country_choices(_("Not known"))
        self.fields["home_store"].queryset = Store.objects.visible_to(user)  # type: ignore[attr-defined]
        # Somebody of one shop cannot give a customer away and lose sight of them.
        self.fields["home_store"].required = user.is_store_bound
        self.timezones = cells.timezone_names()

    def clean_language(self) -> str:
        return _as_import_reads(self.cleaned_data["language"], cells.language)

    def clean_country(self) -> str:
        return _as_import_reads(self.cleaned_data["country"], cells.country)

    def clean_timezone(self) -> str:
        return _as_import_reads(self.cleaned_data["timezone"], cells.timezone)

    def clean_birth_date(self) -> date | None:
        value: date | None = self.cleaned_data["birth_date"]
        _as_import_reads(value.isoformat() if value else "", cells.past_day)
        return value


def _as_import_reads(value: str, convert: Callable[[str], Any]) -> Any:
    """What an import would make of this text, its refusal being the field's error; empty stays empty."""
    try:
        return convert(value.strip()) if value.strip() else ""
    except cells.BadCell as error:
        raise forms.ValidationError(str(error)) from error


class ConsentForm(forms.Form):
    """A consent somebody at the desk records for a customer."""

    channel = forms.ChoiceField(choices=[("", ""), *Channel.choices], required=False)
    purpose = forms.ChoiceField(choices=[])
    state = forms.ChoiceField(choices=[("granted", ""), ("revoked", "")])
    source = forms.ChoiceField(required=False)

    SOURCES: ClassVar[Choices] = [
        ("store", pgettext_lazy("consent source", "Said in the store")),
        ("phone", pgettext_lazy("consent source", "Said on the phone")),
        ("writing", pgettext_lazy("consent source", "Said in writing")),
    ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        purposes = sorted({purpose for _channel, purpose in CONSENTS.values()})
        self.fields["purpose"].choices = [(purpose, purpose) for purpose in purposes]  # type: ignore[attr-defined]
        self.fields["source"].choices = [("", ""), *self.SOURCES]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if not self.errors and (data["channel"], data["purpose"]) not in CONSENTS.values():
            raise forms.ValidationError(_("There is no such consent."))
        if data.get("state") == "granted" and not data.get("source"):
            raise forms.ValidationError(_("Say how the customer gave this consent."))
        return data

    @property
    def proof(self) -> str:
        """Where it was said, as the proof keeps it; a withdrawal needs no particular place."""
        chosen = self.cleaned_data["source"]
        return str(dict(self.SOURCES)[chosen]) if chosen else _("Told to our staff")

    @property
    def refusal(self) -> str:
        """Why it cannot be recorded, in one line; a broken form has no better words than these."""
        return " ".join(map(str, self.non_field_errors())) or _("There is no such consent.")


class UploadForm(forms.Form):
    """The file to import. Whether it is a table is the reader's business."""

    file = forms.FileField(
        label=gettext_lazy("CSV or Excel file"),
        widget=forms.FileInput({"accept": ".csv,.tsv,.txt,.xlsx,.xlsm,text/csv"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["file"].help_text = _(
            "CSV of any encoding and delimiter, or .xlsx; columns in any order, up to {max}."
        ).format(max=filesizeformat(settings.IMPORT_MAX_BYTES))
        self.fields["file"].error_messages["empty"] = _("The file is empty.")


class ColumnsForm(forms.Form):
    """What each column of a file is, one select per column."""

    def __init__(self, *args: Any, job: ImportJob, fields: Sequence[Field], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.columns: list[str] = job.dialect["columns"]
        self.field_list = fields
        choices: Choices = [("", _("Do not import"))]
        choices += [(field.name, field.label) for field in fields]
        if job.kind == ImportJob.Kind.CUSTOMERS:
            choices.append((TRAIT, _("Keep as a trait")))
        for index, column in enumerate(self.columns):
            self.fields[f"column_{index}"] = forms.ChoiceField(
                choices=choices, required=False, label=column, initial=job.mapping.get(column, "")
            )

    def mapping(self) -> dict[str, str]:
        chosen = {
            column: self.cleaned_data.get(f"column_{index}", "") for index, column in enumerate(self.columns)
        }
        return {column: name for column, name in chosen.items() if name}

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        try:
            check_mapping(self.mapping(), self.columns, self.field_list)
        except BadMapping as error:
            raise forms.ValidationError(str(error)) from error
        return data


class CustomerOptionsForm(forms.Form):
    """What a customer file does not say itself."""

    country = forms.ChoiceField(
        required=False,
        label=gettext_lazy("Country of phone numbers without a prefix"),
    )
    consent_source = forms.CharField(
        max_length=100,
        required=False,
        label=gettext_lazy("Where the consents were given"),
        help_text=gettext_lazy("For rows that do not say: “till form 2024”, “website sign-up”."),
    )
    consent_on = forms.DateField(
        required=False,
        label=gettext_lazy("When they were given"),
        widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d"),
        help_text=gettext_lazy("For rows that do not say. Without a date, a yes never lifts a known no."),
    )
    consent_wording = forms.CharField(
        max_length=100,
        required=False,
        label=gettext_lazy("Version of the text they read"),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        country = self.fields["country"]
        country.choices = country_choices(_("As set for this house"))  # type: ignore[attr-defined]

    def clean_consent_on(self) -> str:
        value: date | None = self.cleaned_data["consent_on"]
        day = value.isoformat() if value else ""
        _as_import_reads(day, cells.past_day)
        return day

    def needs(self, mapping: dict[str, str]) -> bool:
        """Whether the proof of the file's consents is complete; adds the error when it is not."""
        said = set(mapping.values())
        has_source = "consent_source" in said or self.cleaned_data.get("consent_source")
        if said & set(CONSENTS) and not has_source:
            self.add_error("consent_source", _("A consent needs its proof: say where these were given."))
            return False
        return True
