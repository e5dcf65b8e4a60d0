from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from core.http import StaffRequest
from core.policy import requires
from customers.keyset import page_of
from customers.page import customer_context, visible_customer

from .models import Order


@requires("orders.view_order")
@require_safe
def of_customer(request: StaffRequest, public_id: UUID) -> HttpResponse:
    """What a customer bought, latest first: a tab of the customer's page."""
    customer = visible_customer(request.user, public_id)
    orders = Order.objects.visible_to(request.user).filter(customer=customer)
    page = page_of(orders.select_related("store"), request.GET.dict(), moment="placed_at", size=25)
    context = {"page": page, **customer_context(request, customer, tab="orders")}
    if request.htmx and not request.htmx.boosted and not request.htmx.history_restore_request:
        return render(request, "orders/partials/orders.html", context)
    return render(request, "orders/of_customer.html", context)
