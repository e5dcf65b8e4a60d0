from django.contrib import admin

from customers.admin import ReadOnly

from .models import Order


@admin.register(Order)
class OrderAdmin(ReadOnly):
    list_display = ("number", "source", "customer_id", "placed_at", "total_minor", "currency", "channel")
    search_fields = ("number__exact",)
