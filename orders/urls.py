from django.urls import path

from . import views, views_import

app_name = "orders"
urlpatterns = [
    path("customers/<uuid:public_id>/orders/", views.of_customer, name="of_customer"),
    path("orders/import/", views_import.import_upload, name="import"),
    path("orders/import/<int:pk>/", views_import.import_job, name="import_job"),
    path("orders/import/<int:pk>/check/", views_import.import_check, name="import_check"),
    path("orders/import/<int:pk>/start/", views_import.import_start, name="import_start"),
    path("orders/import/<int:pk>/discard/", views_import.import_discard, name="import_discard"),
    path("orders/import/<int:pk>/rejected.csv", views_import.import_rejected, name="import_rejected"),
]
