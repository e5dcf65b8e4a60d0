from django import forms
from django.utils.translation import gettext_lazy as _


class SegmentForm(forms.Form):
    """What a segment is called; its rules are the builder's business."""

    name = forms.CharField(label=_("Name"), max_length=120)
    description = forms.CharField(label=_("Description"), max_length=300, required=False)


class PasteForm(forms.Form):
    """People to put on a list, as somebody has them at hand."""

    pasted = forms.CharField(
        label=_("People"),
        widget=forms.Textarea({"rows": 6}),
        max_length=1_000_000,
        help_text=_("E-mail addresses, phone numbers, card or customer numbers: one a line, or with commas."),
    )


class ListForm(SegmentForm, PasteForm):
    """A fixed list and, if you like, who is on it from the start."""

    field_order = ("name", "description", "pasted")

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.fields["pasted"].required = False
