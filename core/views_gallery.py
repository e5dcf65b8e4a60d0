"""Every component in every state on one page, for those who build screens. Routed only in DEBUG."""

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .policy import signed_in

CHANNELS = ("email", "sms", "web", "store", "app", "phone", "marketplace")


class GalleryForm(forms.Form):
    """One field of every kind."""

    name = forms.CharField(label=_("Name"), help_text=_("Shown to colleagues only."))
    contact = forms.EmailField(label=_("E-mail"))
    channel = forms.ChoiceField(label=_("Channel"), choices=[("email", _("E-mail")), ("sms", "SMS")])
    starts_on = forms.DateField(
        label=_("Starts on"), required=False, widget=forms.DateInput({"type": "date"})
    )
    stores = forms.MultipleChoiceField(
        label=_("Stores"),
        required=False,
        choices=[("brera", "Milano Brera"), ("lagrange", "Torino Lagrange")],
        widget=forms.CheckboxSelectMultiple,
    )
    pace = forms.ChoiceField(
        label=_("Pace"),
        choices=[("now", _("At once")), ("spread", _("Over two hours"))],
        widget=forms.RadioSelect,
        initial="now",
    )
    note = forms.CharField(
        label=_("Note"), required=False, widget=forms.Textarea({"rows": 3}), help_text=_("Plain text.")
    )
    file = forms.FileField(label=_("File"), required=False)
    color = forms.CharField(
        label=_("Colour"), required=False, initial="#3f5bd9", widget=forms.TextInput({"type": "color"})
    )
    is_tracked = forms.BooleanField(
        label=_("Count opens and clicks"), required=False, help_text=_("Only where consent allows.")
    )
    is_live = forms.BooleanField(
        label=_("Live"), required=False, widget=forms.CheckboxInput({"class": "switch", "role": "switch"})
    )


@signed_in
def gallery(request: HttpRequest) -> HttpResponse:
    if "toast" in request.GET:
        messages.success(request, _("Saved"))
        messages.error(request, _("The file has no column for the e-mail."))
    wrong = GalleryForm({"name": "", "contact": "not an address", "channel": "email", "pace": "now"})
    context = {
        "channels": CHANNELS,
        "form": GalleryForm(auto_id="new_%s"),
        "wrong_form": wrong,
        "revenue": _revenue(),
        "shares": {
            "labels": ["Milano Brera", "Torino Lagrange", "Online"],
            "series": [{"name": str(_("Revenue")), "values": [4_120_000, 2_640_000, 6_930_000]}],
            "unit": "EUR",
        },
        "spark": [3, 4, 4, 6, 5, 7, 9, 8, 11, 12],
        "now": timezone.now(),
        "names": ["Chiara Moretti", "Paolo Conti", "Elena Russo", "Davide Greco", "Anna Lombardi"],
    }
    return render(request, "ui/gallery.html", context)


def _revenue() -> dict[str, object]:
    days = range(1, 29)
    shape = {"email": 260_000, "sms": 90_000, "push": 70_000, "store": 150_000}
    names = {"email": _("E-mail"), "sms": "SMS", "push": _("Push"), "store": _("Store")}
    return {
        "label": str(_("Day")),
        "labels": [f"{day} Nov" for day in days],
        "series": [
            {
                "name": str(names[channel]),
                "color": channel,
                "values": [size + size * (day * 7 % 11) // 12 for day in days],
            }
            for channel, size in shape.items()
        ],
        "unit": "EUR",
    }
