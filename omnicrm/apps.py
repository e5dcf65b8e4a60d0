from django.apps import AppConfig
from django.contrib.admin import apps as admin


class OmniCRMConfig(AppConfig):
    name = "omnicrm"
    default = True


class SupportConfig(admin.AdminConfig):
    """Django's admin with our own entrance; named in INSTALLED_APPS in place of django.contrib.admin."""

    default = False
    default_site = "omnicrm.support.SupportSite"
