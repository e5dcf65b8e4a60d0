from django.urls import path

from . import views, views_import

app_name = "customers"
urlpatterns = [
    path("", views.customer_list, name="list"),
    path("export/", views.customer_export, name="export"),
    path("imports/", views_import.imports, name="imports"),
    path("import/", views_import.import_upload, name="import"),
    path("import/<int:pk>/", views_import.import_job, name="import_job"),
    path("import/<int:pk>/check/", views_import.import_check, name="import_check"),
    path("import/<int:pk>/start/", views_import.import_start, name="import_start"),
    path("import/<int:pk>/discard/", views_import.import_discard, name="import_discard"),
    path("import/<int:pk>/rejected.csv", views_import.import_rejected, name="import_rejected"),
    path("<uuid:public_id>/", views.customer_detail, name="detail"),
    path("<uuid:public_id>/edit/", views.customer_edit, name="edit"),
    path("<uuid:public_id>/history/", views.customer_history, name="history"),
    path("<uuid:public_id>/consent/", views.customer_consent, name="consent"),
    path("<uuid:public_id>/consent/<int:pk>/undo/", views.consent_undo, name="consent_undo"),
]
