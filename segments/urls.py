from django.urls import path

from . import views, views_builder

app_name = "segments"
urlpatterns = [
    path("", views.segment_list, name="list"),
    path("new/", views_builder.segment_create, name="new"),
    path("new-list/", views.list_create, name="new_list"),
    path("preview/", views_builder.segment_preview, name="preview"),
    path("people/", views_builder.people_search, name="people"),
    path("of/<uuid:public_id>/", views.customer_segments, name="customer_segments"),
    path("<int:pk>/", views.segment_detail, name="detail"),
    path("<int:pk>/edit/", views_builder.segment_edit, name="edit"),
    path("<int:pk>/rename/", views.list_edit, name="rename"),
    path("<int:pk>/count/", views.segment_count, name="count"),
    path("<int:pk>/overlap/", views.segment_overlap, name="overlap"),
    path("<int:pk>/members/", views.segment_members, name="members"),
    path("<int:pk>/members/add/", views.members_add, name="members_add"),
    path("<int:pk>/members/<uuid:public_id>/remove/", views.member_remove, name="member_remove"),
    path("<int:pk>/members/<uuid:public_id>/restore/", views.member_restore, name="member_restore"),
    path("<int:pk>/why/<uuid:public_id>/", views.segment_why, name="why"),
    path("<int:pk>/duplicate/", views.segment_duplicate, name="duplicate"),
    path("<int:pk>/archive/", views.segment_archive, name="archive"),
    path("<int:pk>/restore/", views.segment_restore, name="restore"),
]
