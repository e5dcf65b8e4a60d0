from django.urls import path

from . import views, views_builder

app_name = "segments"
urlpatterns = [
    path("segments/", views.segment_list, name="list"),
    path("segments/new/", views_builder.segment_create, name="new"),
    path("segments/new-list/", views.list_create, name="new_list"),
    path("segments/preview/", views_builder.segment_preview, name="preview"),
    path("segments/people/", views_builder.people_search, name="people"),
    path("customers/<uuid:public_id>/segments/", views.customer_segments, name="customer_segments"),
    path("segments/<int:pk>/", views.segment_detail, name="detail"),
    path("segments/<int:pk>/edit/", views_builder.segment_edit, name="edit"),
    path("segments/<int:pk>/rename/", views.list_edit, name="rename"),
    path("segments/<int:pk>/count/", views.segment_count, name="count"),
    path("segments/<int:pk>/overlap/", views.segment_overlap, name="overlap"),
    path("segments/<int:pk>/members/", views.segment_members, name="members"),
    path("segments/<int:pk>/members/change/", views.members_change, name="members_change"),
    path("segments/<int:pk>/members/<uuid:public_id>/add/", views.member_add, name="member_add"),
    path("segments/<int:pk>/members/<uuid:public_id>/remove/", views.member_remove, name="member_remove"),
    path("segments/<int:pk>/members/<uuid:public_id>/release/", views.member_release, name="member_release"),
    path("segments/<int:pk>/why/<uuid:public_id>/", views.segment_why, name="why"),
    path("segments/<int:pk>/duplicate/", views.segment_duplicate, name="duplicate"),
    path("segments/<int:pk>/archive/", views.segment_archive, name="archive"),
    path("segments/<int:pk>/restore/", views.segment_restore, name="restore"),
]
