from django import forms
from django.forms.renderers import TemplatesSetting
from django.utils.translation import gettext_lazy as _

from .models import User


class FormRenderer(TemplatesSetting):
    """Every form of the house is drawn by the same two templates."""

    form_template_name = "ui/form.html"
    field_template_name = "ui/field.html"


class ColleagueForm(forms.ModelForm):
    """Who somebody is here. What may be changed is the service's business."""

    class Meta:
        model = User
        fields: tuple[str, ...] = ("name", "role", "language")
        help_texts = {
            "role": _("Decides what this person sees and does; a change counts from the next click."),
            "language": _("Of the screens and of the mails we send to this person."),
        }


class NewColleagueForm(ColleagueForm):
    """A colleague to be; the password is theirs to choose."""

    class Meta(ColleagueForm.Meta):
        fields = ("name", "email", "role", "language")
        help_texts = ColleagueForm.Meta.help_texts | {"email": _("The name to sign in with.")}
