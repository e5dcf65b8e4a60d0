from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from .models import ConsentEvent, Customer, Event, Identifier, ImportJob, Suppression


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


class IdentifierInline(admin.TabularInline):
    model = Identifier
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Customer)
class CustomerAdmin(ReadOnly):
    list_display = ("public_id", "full_name", "status", "country", "home_store", "created_at")
    list_select_related = ("home_store",)
    search_fields = ("public_id__exact", "identifiers__value__exact")
    inlines = (IdentifierInline,)


@admin.register(Event)
class EventAdmin(ReadOnly):
    list_display = ("id", "name", "customer_id", "channel", "source", "key", "occurred_at")
    search_fields = ("key__exact",)


@admin.register(ConsentEvent)
class ConsentEventAdmin(ReadOnly):
    list_display = ("id", "customer_id", "channel", "purpose", "state", "source", "effective_at")


@admin.register(Suppression)
class SuppressionAdmin(ReadOnly):
    list_display = ("id", "channel", "reason", "created_at")
    exclude = ("address_hash",)


@admin.register(ImportJob)
class ImportJobAdmin(ReadOnly):
    list_display = (
        "id",
        "kind",
        "status",
        "file_name",
        "rows",
        "created",
        "updated",
        "unchanged",
        "rejected",
    )
    list_filter = ("kind", "status")
