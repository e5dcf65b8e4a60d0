from django.contrib import admin

from .models import Store


@admin.register(Store)
class StoreAdmin(admin.ModelAdmin):
    list_display = ("name", "code", "city", "country", "timezone")
    search_fields = ("name", "code", "city")
    prepopulated_fields = {"code": ["name"]}
    fields = ("name", "code", "city", "country", "timezone")
