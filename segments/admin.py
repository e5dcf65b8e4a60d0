from django.contrib import admin
from django.http import HttpRequest

from .models import ListMember, Segment


@admin.register(Segment)
class SegmentAdmin(admin.ModelAdmin):
    """To look at; segments are changed on their own pages, where rules are checked."""

    list_display = ("name", "kind", "match_count", "counted_at", "count_ms", "archived_at")
    list_filter = ("kind", "archived_at")
    search_fields = ("name", "description")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Segment | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Segment | None = None) -> bool:
        return False


@admin.register(ListMember)
class ListMemberAdmin(admin.ModelAdmin):
    list_display = ("segment", "customer", "added_by", "added_at")
    list_select_related = ("segment", "customer", "added_by")
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ListMember | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ListMember | None = None) -> bool:
        return False
