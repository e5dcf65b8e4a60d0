from django.urls import path

from . import views, views_history, views_team

app_name = "core"
urlpatterns = [
    path("start/", views.start, name="start"),
    path("team/", views_team.team, name="team"),
    path("team/add/", views_team.colleague_add, name="colleague_add"),
    path("team/<int:pk>/", views_team.colleague, name="colleague"),
    path("team/<int:pk>/deactivate/", views_team.colleague_deactivate, name="colleague_deactivate"),
    path("team/<int:pk>/activate/", views_team.colleague_activate, name="colleague_activate"),
    path("team/<int:pk>/link/", views_team.colleague_link, name="colleague_link"),
    path(
        "team/<int:pk>/second-factor/reset/",
        views_team.colleague_reset_second_factor,
        name="colleague_reset_second_factor",
    ),
    path("team/<int:pk>/sessions/end/", views_team.colleague_end_sessions, name="colleague_end_sessions"),
    path(
        "team/<int:pk>/sessions/<int:session_pk>/end/",
        views_team.colleague_end_sessions,
        name="colleague_end_session",
    ),
    path("sessions/<int:session_pk>/end/", views.own_session_end, name="own_session_end"),
    path("history/", views_history.history, name="history"),
    path("history/<str:kind>/<int:pk>/", views_history.object_history, name="object_history"),
]
