from django import forms
from django.utils.translation import gettext_lazy as _

from .models import Store


class StaffStoresForm(forms.Form):
    """The stores somebody works in."""

    stores = forms.ModelMultipleChoiceField(
        Store.objects.all(), label=_("Stores"), required=False, widget=forms.CheckboxSelectMultiple
    )
