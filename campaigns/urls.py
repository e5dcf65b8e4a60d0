from django.urls import path

from . import (
    views,
    views_actions,
    views_brands,
    views_calendar,
    views_content,
    views_providers,
    views_public,
    views_webhooks,
    views_wizard,
)

app_name = "campaigns"

_TEXT = "campaigns/<int:pk>/content/<slug:channel>/<slug:language>/"

urlpatterns = [
    # What customers follow from a message: short, since text messages are.
    path("c/<str:token>", views_public.click, name="click"),
    path("u/<str:token>", views_public.unsubscribe, name="unsubscribe"),
    path("o/<str:token>.gif", views_public.open_pixel, name="open"),
    # Where providers report.
    path("webhooks/email/<slug:esp>/", views_webhooks.email_reports, name="email_reports"),
    path("webhooks/sms/twilio/<int:message_id>/", views_webhooks.twilio_status, name="twilio_status"),
    path("campaigns/", views.campaign_list, name="list"),
    path("customers/<uuid:public_id>/messages/", views.customer_messages, name="customer_messages"),
    path("campaigns/calendar/", views_calendar.campaign_calendar, name="calendar"),
    path("campaigns/new/", views_wizard.campaign_new, name="new"),
    path("campaigns/<int:pk>/", views.campaign_detail, name="detail"),
    path("campaigns/<int:pk>/results/", views.campaign_results, name="results"),
    path("campaigns/<int:pk>/people/", views.campaign_people, name="people"),
    path("campaigns/<int:pk>/goal/", views_wizard.campaign_goal, name="goal"),
    path("campaigns/<int:pk>/audience/", views_wizard.campaign_audience, name="audience"),
    path("campaigns/<int:pk>/audience/count/", views_wizard.campaign_audience_count, name="audience_count"),
    path("campaigns/<int:pk>/content/", views_content.content_start, name="content"),
    path("campaigns/<int:pk>/content/add/", views_content.content_add, name="content_add"),
    path("campaigns/<int:pk>/customers/", views_content.preview_customers, name="preview_customers"),
    path(_TEXT, views_content.content_edit, name="content_edit"),
    path(f"{_TEXT}preview/", views_content.content_preview, name="content_preview"),
    path(f"{_TEXT}mail/", views_content.content_mail, name="content_mail"),
    path(f"{_TEXT}test/", views_content.content_test, name="content_test"),
    path(f"{_TEXT}remove/", views_content.content_remove, name="content_remove"),
    path("campaigns/<int:pk>/schedule/", views_wizard.campaign_schedule, name="schedule"),
    path("campaigns/<int:pk>/schedule/words/", views_wizard.campaign_schedule_words, name="schedule_words"),
    path("campaigns/<int:pk>/review/", views_wizard.campaign_review, name="review"),
    path("campaigns/<int:pk>/approve/", views_actions.campaign_approve, name="approve"),
    path("campaigns/<int:pk>/unschedule/", views_actions.campaign_unschedule, name="unschedule"),
    path("campaigns/<int:pk>/pause/", views_actions.campaign_pause, name="pause"),
    path("campaigns/<int:pk>/resume/", views_actions.campaign_resume, name="resume"),
    path("campaigns/<int:pk>/end/", views_actions.campaign_end, name="end"),
    path("campaigns/<int:pk>/cancel/", views_actions.campaign_cancel, name="cancel"),
    path("campaigns/<int:pk>/duplicate/", views_actions.campaign_duplicate, name="duplicate"),
    path("campaigns/<int:pk>/delete/", views_actions.campaign_delete, name="delete"),
    path("brands/", views_brands.brand_list, name="brands"),
    path("brands/new/", views_brands.brand_new, name="brand_new"),
    path("brands/<int:pk>/", views_brands.brand_edit, name="brand_edit"),
    path("brands/<int:pk>/logo", views_brands.brand_logo, name="brand_logo"),
    path("providers/", views_providers.provider_list, name="providers"),
    path("providers/replay/", views_providers.reports_replay, name="reports_replay"),
]
