from django.urls import path

from . import views_public

app_name = "campaigns"
urlpatterns = [
    path("c/<str:token>", views_public.click, name="click"),
    path("u/<str:token>", views_public.unsubscribe, name="unsubscribe"),
]
