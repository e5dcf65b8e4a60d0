from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from . import views

urlpatterns = [
    path("healthz", views.live, name="healthz"),
    path("readyz", views.ready, name="readyz"),
    path("search/", views.search, name="search"),
    path("account/", include("allauth.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    path("admin/", admin.site.urls),
    path("", include("core.urls")),
    path("", include("analytics.urls")),
    path("customers/", include("customers.urls")),
    path("orders/", include("orders.urls")),
    path("segments/", include("segments.urls")),
    path("", include("campaigns.urls")),
]

if settings.DEBUG:
    from core.views_gallery import gallery

    urlpatterns += [path("ui/", gallery, name="gallery")]
