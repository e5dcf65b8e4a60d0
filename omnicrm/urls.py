from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from core import views as core_views

from . import views

urlpatterns = [
    path("healthz", views.live, name="healthz"),
    path("readyz", views.ready, name="readyz"),
    path("metrics", views.prometheus, name="metrics"),
    path("search/", views.search, name="search"),
    path("preferences/language/", core_views.switch_language, name="set_language"),
    path("account/signup/", core_views.closed),  # An administrator invites colleagues
    path("account/email/", core_views.closed),  # and keeps their addresses.
    path("account/", include("allauth.urls")),
    path("admin/", admin.site.urls),
    path("", include("core.urls")),
    path("", include("analytics.urls")),
    path("", include("inventory.urls")),
    path("customers/", include("customers.urls")),
    path("", include("orders.urls")),
    path("", include("segments.urls")),
    path("", include("campaigns.urls")),
]

handler500 = "omnicrm.outages.failed"

if settings.DEBUG:
    from core.views_gallery import gallery

    urlpatterns += [path("ui/", gallery, name="gallery")]
