import json

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from core.http import StaffRequest
from core.models import User
from core.policy import requires

from . import services
from .forms import StaffStoresForm


@requires("core.change_user")
@require_POST
def staff_stores(request: StaffRequest, pk: int) -> HttpResponse:
    """The stores a colleague works in; a card on the colleague's page."""
    colleague = get_object_or_404(User, pk=pk)
    form = StaffStoresForm(request.POST)
    if form.is_valid():
        services.assign_stores(pk, stores=form.cleaned_data["stores"], by=request.user)
        if not request.htmx:
            messages.success(request, _("Stores saved"))
            return redirect(colleague)
    context = {"colleague": colleague, "form": form}
    status = 422 if form.errors else 200
    response = render(request, "inventory/partials/staff_stores.html", context, status=status)
    if not form.errors:
        response.headers["HX-Trigger"] = json.dumps({"toast": {"text": _("Stores saved")}})
    return response
