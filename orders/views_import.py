"""The pages of the order import; `customers.wizard` says what they do."""

from django.http import HttpResponse, HttpResponseBase
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from core.http import StaffRequest
from core.policy import requires
from customers import wizard

from .forms import OrderOptionsForm
from .imports import ORDERS

ORDER_WIZARD = wizard.Wizard(
    importer=ORDERS,
    options_form=OrderOptionsForm,
    namespace="orders",
    title=gettext_lazy("Import orders"),
    intro=gettext_lazy("A row per order, with its number, date, total and who bought."),
)


@requires("orders.import_order")
def import_upload(request: StaffRequest) -> HttpResponse:
    return wizard.upload(request, ORDER_WIZARD)


@requires("orders.import_order")
def import_job(request: StaffRequest, pk: int) -> HttpResponse:
    return wizard.job(request, ORDER_WIZARD, pk)


@requires("orders.import_order")
@require_safe
def import_check(request: StaffRequest, pk: int) -> HttpResponse:
    return wizard.check(request, ORDER_WIZARD, pk)


@requires("orders.import_order")
@require_POST
def import_start(request: StaffRequest, pk: int) -> HttpResponse:
    return wizard.start(request, ORDER_WIZARD, pk)


@requires("orders.import_order")
@require_POST
def import_discard(request: StaffRequest, pk: int) -> HttpResponse:
    return wizard.discard(request, ORDER_WIZARD, pk)


@requires("orders.import_order")
@require_safe
def import_rejected(request: StaffRequest, pk: int) -> HttpResponseBase:
    return wizard.rejected(request, ORDER_WIZARD, pk)
