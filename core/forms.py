from django.forms.renderers import TemplatesSetting


class FormRenderer(TemplatesSetting):
    """Every form of the house is drawn by the same two templates."""

    form_template_name = "ui/form.html"
    field_template_name = "ui/field.html"
