from django.urls import path

from . import views, views_import

app_name = "orders"
urlpatterns = [
    path("of/<uuid:public_id>/", views.of_customer, name="of_customer"),
    path("import/", views_import.import_upload, name="import"),
    path("import/<int:pk>/", views_import.import_job, name="import_job"),
    path("import/<int:pk>/check/", views_import.import_check, name="import_check"),
    path("import/<int:pk>/start/", views_import.import_start, name="import_start"),
    path("import/<int:pk>/discard/", views_import.import_discard, name="import_discard"),
    path("import/<int:pk>/rejected.csv", views_import.import_rejected, name="import_rejected"),
]
