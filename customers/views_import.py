"""The pages of the customer import; `customers.wizard` says what they do."""

from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_POST, require_safe

from core.http import StaffRequest
from core.policy import requires

from . import wizard
from .keyset import page_of
from .models import ImportJob
from .wizard import CUSTOMER_WIZARD


@requires("customers.import_customer")
def import_upload(request: StaffRequest) -> HttpResponse:
    return wizard.upload(request, CUSTOMER_WIZARD)


@requires("customers.import_customer")
def import_job(request: StaffRequest, pk: int) -> HttpResponse:
    return wizard.job(request, CUSTOMER_WIZARD, pk)


@requires("customers.import_customer")
@require_safe
def import_check(request: StaffRequest, pk: int) -> HttpResponse:
    return wizard.check(request, CUSTOMER_WIZARD, pk)


@requires("customers.import_customer")
@require_POST
def import_start(request: StaffRequest, pk: int) -> HttpResponse:
    return wizard.start(request, CUSTOMER_WIZARD, pk)


@requires("customers.import_customer")
@require_POST
def import_discard(request: StaffRequest, pk: int) -> HttpResponse:
    return wizard.discard(request, CUSTOMER_WIZARD, pk)


@requires("customers.import_customer")
@require_safe
def import_rejected(request: StaffRequest, pk: int) -> HttpResponseBase:
    return wizard.rejected(request, CUSTOMER_WIZARD, pk)


@requires("customers.import_customer")
@require_safe
def imports(request: StaffRequest) -> HttpResponse:
    """Every file that was brought, latest first."""
    jobs = ImportJob.objects.select_related("by").defer("dialect", "mapping")
    context = {"page": page_of(jobs, request.GET.dict(), moment="created_at", size=25)}
    return render(request, "customers/imports.html", context)
