import re
import zoneinfo
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.forms import inlineformset_factory
from django.utils.translation import gettext_lazy as _

from core.models import User
from customers.addresses import InvalidIdentifier, normalise_email, normalise_phone
from customers.models import Channel
from segments.models import Segment

from . import images
from .models import Brand, Campaign, Content, Sender
from .rendering import compile_parts
from .templates import TemplateProblem, check

SMS_NAME = re.compile(r"^(?=.*[A-Za-z])[A-Za-z0-9 ]{3,11}$")


def sentences(form: forms.Form) -> str:
    """What is wrong with a form that has no place to show it, as one text."""
    return " ".join(str(text) for texts in form.errors.values() for text in texts)


class GoalForm(forms.ModelForm):
    """What the campaign is for, and how we will know."""

    class Meta:
        model = Campaign
        fields = ("name", "brand", "goal", "goal_target", "goal_days", "holdout_percent")
        labels = {
            "goal_target": _("Target"),
            "goal_days": _("Days after the message"),
            "holdout_percent": _("Held out, in percent"),
        }
        help_texts = {
            "name": _("Only you and your colleagues see it."),
            "goal_target": _("How many you hope for; revenue in whole units of currency. 0 means no target."),
            "goal_days": _("Orders within this many days count."),
            "holdout_percent": _(
                "So many of a hundred people, chosen at random, get nothing: only against them can be seen "
                "what the messages changed. 0 sends to everybody."
            ),
        }
        widgets = {"goal": forms.RadioSelect}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.planned_at:  # Who is held out of a series stays so.
            self.fields["holdout_percent"].disabled = True
            self.fields["holdout_percent"].help_text = _("Fixed since the campaign went out first.")


class AudienceForm(forms.Form):
    """Whom to send to. No segment is allowed while drafting; the review says it is missing."""

    include = forms.ModelMultipleChoiceField(Segment.objects.none(), required=False)
    exclude = forms.ModelMultipleChoiceField(Segment.objects.none(), required=False)

    def __init__(self, *args: Any, segments: QuerySet[Segment], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("include", "exclude"):
            self.fields[name].queryset = segments  # type: ignore[attr-defined]

    @staticmethod
    def choices_for(user: User, campaign: Campaign) -> QuerySet[Segment]:
        """The segments to choose from: the living ones, and those chosen before they were archived."""
        chosen = Q(campaigns_including=campaign) | Q(campaigns_excluding=campaign)
        living = Segment.objects.visible_to(user).filter(Q(archived_at=None) | chosen)
        return living.defer("definition").distinct().order_by("name")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        both = set(cleaned.get("include", ())) & set(cleaned.get("exclude", ()))
        if both:
            raise ValidationError(
                _("“%(name)s” cannot be both included and left out."), params={"name": min(both, key=str)}
            )
        return cleaned


class ContentForm(forms.ModelForm):
    """What one channel says in one language: the fields that channel has, every text a sound template."""

    button_url = forms.URLField(
        label=_("Button address"), required=False, max_length=500, assume_scheme="https"
    )
    templates = ("subject", "preheader", "heading", "body", "button_label")

    class Meta:
        model = Content
        fields = ("sender", "subject", "preheader", "heading", "body", "button_label", "button_url")
        labels = {"button_label": _("Button label")}
        help_texts = {
            "preheader": _("What the inbox shows after the subject."),
            "body": _("**bold**, [our shop](https://…), an empty line for a new paragraph, “- ” for a list."),
        }
        widgets = {"body": forms.Textarea({"rows": 10})}

    def __init__(self, *args: Any, brand: Brand, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        senders = brand.senders.filter(channel=self.instance.channel)
        self.fields["sender"] = forms.ModelChoiceField(
            senders, label=_("Sender"), empty_label=None if senders else _("No sender yet")
        )
        if self.instance.channel == Channel.EMAIL:
            self.fields["subject"].required = True
            return
        for name in ("subject", "preheader", "heading", "button_label", "button_url"):
            del self.fields[name]
        self.fields["body"].widget.attrs["rows"] = 5
        self.fields["body"].help_text = _("Plain text. Links are shortened and followed.")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        for name in self.templates:
            if name not in cleaned:
                continue
            try:
                check(cleaned[name])
            except TemplateProblem as problem:
                self.add_error(name, str(problem))
        if bool(cleaned.get("button_label")) != bool(cleaned.get("button_url")) and not self.errors:
            missing = "button_url" if cleaned.get("button_label") else "button_label"
            self.add_error(missing, _("A button needs both a label and an address."))
        if not self.errors:
            self._check_layout(cleaned)
        return cleaned

    def _check_layout(self, cleaned: dict[str, Any]) -> None:
        """Put the text together as it would be sent: some faults only show there."""
        written = Content(
            campaign=self.instance.campaign,
            channel=self.instance.channel,
            language=self.instance.language,
            **cleaned,
        )
        try:
            compile_parts(written, {})
        except TemplateProblem as problem:
            self.add_error("body", str(problem))

    def validate_unique(self) -> None:
        """One text per channel and language is the address of the page, not something to type."""


class AddContentForm(forms.Form):
    """Another channel or another language."""

    channel = forms.ChoiceField(label=_("Channel"), choices=Channel.choices)
    language = forms.RegexField(r"^[a-z]{2,3}$", label=_("Language"), max_length=3)


class TestForm(forms.Form):
    """Where a trial goes."""

    to = forms.CharField(max_length=254)

    def __init__(self, *args: Any, channel: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.channel = channel

    def clean_to(self) -> str:
        normalise = normalise_email if self.channel == Channel.EMAIL else normalise_phone
        try:
            return normalise(self.cleaned_data["to"])
        except InvalidIdentifier as error:
            raise ValidationError(str(error)) from error


class LaunchForm(forms.Form):
    """The number somebody saw on the button, and typed again when it is large."""

    people = forms.IntegerField(min_value=0)
    typed = forms.CharField(required=False, max_length=20)

    def clean_typed(self) -> str:
        return re.sub(r"\D", "", self.cleaned_data["typed"])


class CancelForm(forms.Form):
    """Stopping what cannot be started again: the campaign's name, typed."""

    name = forms.CharField(max_length=120)

    def __init__(self, *args: Any, campaign: Campaign, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.campaign = campaign

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if " ".join(name.split()).casefold() != " ".join(self.campaign.name.split()).casefold():
            raise ValidationError(_("That is not the name of this campaign. Nothing was cancelled."))
        return name


class BrandForm(forms.ModelForm):
    """How a brand looks, signs and when it keeps silent."""

    website = forms.URLField(label=_("Website"), required=False, max_length=200, assume_scheme="https")

    class Meta:
        model = Brand
        fields = (
            "name",
            "website",
            "postal_address",
            "colour",
            "logo",
            "timezone",
            "default_language",
            "quiet_from",
            "quiet_until",
            "approval_above",
            "weekly_points",
            "daily_messages",
        )
        widgets = {
            "postal_address": forms.Textarea({"rows": 2}),
            "colour": forms.TextInput({"type": "color"}),
            "logo": forms.ClearableFileInput({"accept": "image/png,image/jpeg"}),
            "timezone": forms.TextInput({"list": "timezones", "autocomplete": "off"}),
            "default_language": forms.Select(choices=settings.LANGUAGES),
            "quiet_from": forms.TimeInput({"type": "time"}, format="%H:%M"),
            "quiet_until": forms.TimeInput({"type": "time"}, format="%H:%M"),
        }

    def clean_timezone(self) -> str:
        name: str = self.cleaned_data["timezone"]
        if name not in zoneinfo.available_timezones():
            raise ValidationError(_("Choose a time zone of the list, such as Europe/Rome."))
        return name

    def clean_default_language(self) -> str:
        code: str = self.cleaned_data["default_language"]
        if not re.fullmatch(r"[a-z]{2,3}", code):
            raise ValidationError(_("Choose a language of the list."))
        return code

    def clean_logo(self) -> Any:
        logo = self.cleaned_data["logo"]
        if logo and "logo" in self.files:
            images.check_logo(logo)
        return logo


class SenderForm(forms.ModelForm):
    """An address to send from, in the form its channel wants."""

    class Meta:
        model = Sender
        fields = ("channel", "name", "address", "reply_to")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        address = cleaned.get("address", "")
        if not address or not cleaned.get("channel"):
            return cleaned
        try:
            cleaned["address"] = self._address(cleaned["channel"], address.strip())
        except InvalidIdentifier as error:
            self.add_error("address", str(error))
        else:
            if not cleaned["address"].isascii():  # Many mail servers still refuse such senders (RFC 6531).
                self.add_error("address", _("A sender's address may have plain letters only."))
        return cleaned

    @staticmethod
    def _address(channel: str, address: str) -> str:
        if channel == Channel.EMAIL:
            return normalise_email(address)
        return address if SMS_NAME.fullmatch(address) else normalise_phone(address)


SenderFormSet = inlineformset_factory(Brand, Sender, form=SenderForm, extra=1, can_delete=True)
