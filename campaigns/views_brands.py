"""Brands: how they look, whom they send as, when they keep silent."""

import zoneinfo
from typing import Any

from csp.constants import NONE
from csp.decorators import csp
from django.contrib import messages
from django.db import transaction
from django.db.models import Count, ProtectedError
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_http_methods, require_safe

from core.http import StaffRequest
from core.policy import public, requires

from .forms import BrandForm, SenderFormSet
from .images import kind_of_file
from .models import Brand
from .views_wizard import posted


@requires("campaigns.view_brand")
@require_safe
def brand_list(request: StaffRequest) -> HttpResponse:
    """Every brand with its senders."""
    brands = Brand.objects.prefetch_related("senders").annotate(campaign_count=Count("campaigns"))
    return render(request, "campaigns/brands.html", {"brands": brands})


@requires("campaigns.change_brand")
@require_http_methods(["GET", "HEAD", "POST"])
def brand_new(request: StaffRequest) -> HttpResponse:
    """A new brand."""
    return _edit(request, Brand())


@requires("campaigns.change_brand")
@require_http_methods(["GET", "HEAD", "POST"])
def brand_edit(request: StaffRequest, pk: int) -> HttpResponse:
    """A brand's look, silence and senders."""
    return _edit(request, get_object_or_404(Brand, pk=pk))


@public
@csp({"default-src": [NONE]})  # type: ignore[arg-type]  # Its types know no view with arguments.
@cache_control(public=True, max_age=300)
@require_safe
def brand_logo(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The logo, for mails and public pages; only what is a picture by its bytes is ever served."""
    brand = get_object_or_404(Brand, pk=pk)
    try:
        file = brand.logo.open("rb")
    except (ValueError, FileNotFoundError) as error:
        raise Http404 from error
    kind = kind_of_file(file)
    if not kind:
        raise Http404
    return FileResponse(file, content_type=kind)


def _edit(request: StaffRequest, brand: Brand) -> HttpResponse:
    files = request.FILES if request.method == "POST" else None
    form = BrandForm(posted(request), files, instance=brand)
    senders = SenderFormSet(posted(request), instance=brand, prefix="senders")
    if request.method == "POST" and form.is_valid() and senders.is_valid() and _save(form, senders):
        messages.success(request, _("The brand was saved."))
        return redirect("campaigns:brands")
    context = {
        "form": form,
        "senders": senders,
        "brand": brand,
        "timezones": sorted(zone for zone in zoneinfo.available_timezones() if "/" in zone),
    }
    is_wrong = bool(form.errors) or (senders.is_bound and not senders.is_valid())
    return render(request, "campaigns/brand_form.html", context, status=422 if is_wrong else 200)


def _save(form: BrandForm, senders: Any) -> bool:
    """Keep brand and senders together or not at all; False when a sender to remove is still used."""
    try:
        with transaction.atomic():
            senders.instance = form.save()
            senders.save()
    except ProtectedError:
        form.add_error(None, _("A sender that campaigns use cannot be removed."))
        return False
    return True
