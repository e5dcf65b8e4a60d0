from django.urls import path

from . import views

app_name = "inventory"
urlpatterns = [
    path("team/<int:pk>/stores/", views.staff_stores, name="staff_stores"),
]
