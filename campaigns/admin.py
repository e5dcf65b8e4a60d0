from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from .models import (
    Brand,
    Campaign,
    Click,
    Content,
    Conversion,
    Message,
    ProviderReport,
    SandboxText,
    Sender,
)


class ReadOnly(admin.ModelAdmin):
    """For support to look, not to touch: every change has its verb."""

    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyInline(admin.TabularInline):
    """The same for rows inside."""

    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class SenderInline(ReadOnlyInline):
    model = Sender


class ContentInline(ReadOnlyInline):
    model = Content


@admin.register(Brand)
class BrandAdmin(ReadOnly):
    list_display = ("name", "timezone", "default_language", "approval_above")
    inlines = (SenderInline,)


@admin.register(Campaign)
class CampaignAdmin(ReadOnly):
    list_display = ("name", "brand", "status", "send_at", "revision", "created_by")
    list_select_related = ("brand", "created_by")
    list_filter = ("status", "brand")
    search_fields = ("name",)
    inlines = (ContentInline,)


@admin.register(Message)
class MessageAdmin(ReadOnly):
    list_display = ("pk", "campaign", "channel", "status", "reason", "due_at", "sent_at", "attempts")
    list_select_related = ("campaign",)
    list_filter = ("status", "channel", "reason")
    search_fields = ("provider_ref__exact",)
    raw_id_fields = ("customer", "content")
    show_facets = admin.ShowFacets.NEVER  # Counting a million rows to label a filter is not worth it.


@admin.register(Click)
class ClickAdmin(ReadOnly):
    list_display = ("message_id", "link", "clicked_at", "is_machine")
    list_select_related = ("link",)
    list_filter = ("is_machine",)


@admin.register(Conversion)
class ConversionAdmin(ReadOnly):
    list_display = ("campaign", "message_id", "revenue_minor", "currency", "occurred_at")
    list_select_related = ("campaign",)


@admin.register(SandboxText)
class SandboxTextAdmin(ReadOnly):
    list_display = ("ref", "sender", "to", "parts", "report", "accepted_at", "reported_at")
    list_filter = ("report",)


@admin.register(ProviderReport)
class ProviderReportAdmin(ReadOnly):
    list_display = ("provider", "kind", "message", "ref", "received_at", "processed_at", "dead_at", "problem")
    list_filter = ("provider", "kind", "problem")
    search_fields = ("event_id__exact", "ref__exact")
    show_facets = admin.ShowFacets.NEVER
