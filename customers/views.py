from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.timezone import localdate
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import trigger_client_event

from core.errors import DomainError
from core.history import Position, read_history
from core.http import StaffRequest
from core.policy import requires

from . import contact, exports, services, timeline
from .forms import ConsentForm, CustomerFilterForm, CustomerForm
from .keyset import page_of
from .listing import Narrowed, narrowed, size_of
from .models import ConsentEvent, ConsentState, Customer, CustomerQuerySet
from .page import consent_context, consent_key, customer_context, visible_customer

TIMELINE_PAGE = 40


@requires("customers.view_customer")
@require_safe
def customer_list(request: StaffRequest) -> HttpResponse:
    """Who we know, latest first, narrowed by what stands in the address."""
    form = CustomerFilterForm(request.GET, user=request.user)
    chosen = form.chosen()
    found = narrowed(_visible(request), chosen)
    page = page_of(_with_row(found), request.GET.dict(), moment="created_at")
    exact = _exact(request, chosen) if "before" not in request.GET and "after" not in request.GET else []
    rows = exact + [customer for customer in page.rows if customer not in exact]
    is_everybody = not chosen and not request.user.is_store_bound
    context = {
        "form": form,
        "chosen": chosen,
        "page": page,
        "rows": rows,
        "size": size_of(found, is_everybody=is_everybody),
        "is_fragment": _is_fragment(request),
    }
    name = "partials/list.html" if context["is_fragment"] else "list.html"
    return render(request, f"customers/{name}", context)


@requires("customers.export_customer")
@require_safe
def customer_export(request: StaffRequest) -> HttpResponseBase:
    """The list as it is narrowed, as CSV."""
    chosen = CustomerFilterForm(request.GET, user=request.user).chosen()
    customers = narrowed(_visible(request), chosen).customers
    return exports.csv_response(f"customers-{localdate():%Y-%m-%d}.csv", exports.customer_rows(customers))


@requires("customers.view_customer")
@require_safe
def customer_detail(request: StaffRequest, public_id: UUID) -> HttpResponse:
    """One person with their timeline over all channels."""
    customer = visible_customer(request.user, public_id)
    happened = customer.events.select_related("store")
    channels = [c for c in happened.order_by().values_list("channel", flat=True).distinct() if c]
    chosen = request.GET.get("channel", "")
    if chosen in channels:
        happened = happened.filter(channel=chosen)
    page = page_of(happened, request.GET.dict(), moment="occurred_at", size=TIMELINE_PAGE)
    context = {
        "page": page,
        "days": timeline.days(page.rows),
        "chips": [(c, timeline.channel_name(c)) for c in [*timeline.CHANNELS] if c in channels],
        "chosen": chosen if chosen in channels else "",
    }
    if _is_fragment(request):
        return render(request, "customers/partials/timeline.html", context | {"customer": customer})
    return render(
        request, "customers/detail.html", context | customer_context(request, customer, tab="timeline")
    )


@requires("customers.change_customer")
def customer_edit(request: StaffRequest, public_id: UUID) -> HttpResponse:
    """Correct what we know of a person."""
    customer = visible_customer(request.user, public_id)
    form = CustomerForm(request.POST or None, instance=customer, user=request.user)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, _("Saved."))
        return redirect(customer)
    name = contact.name_of(customer, customer.identifiers.all())
    context = {"customer": customer, "customer_name": name, "form": form}
    return render(request, "customers/edit.html", context, status=422 if form.errors else 200)


@requires("customers.change_consent")
@require_POST
def customer_consent(request: StaffRequest, public_id: UUID) -> HttpResponse:
    """Record what the customer just said about being contacted."""
    customer = visible_customer(request.user, public_id)
    form = ConsentForm(request.POST)
    if not form.is_valid():
        return _consent_card(request, customer, error=form.refusal)
    said = form.cleaned_data
    statement = services.record_consent(
        customer.pk,
        channel=said["channel"],
        purpose=said["purpose"],
        state=said["state"],
        source=form.proof,
        evidence=_("recorded on the customer's page by {name}").format(name=request.user),
        by=request.user,
    )
    return _consent_card(request, customer, statement=statement)


@requires("customers.change_consent")
@require_POST
def consent_undo(request: StaffRequest, public_id: UUID, pk: int) -> HttpResponse:
    """Take back a consent just recorded by mistake."""
    customer = visible_customer(request.user, public_id)
    statement = get_object_or_404(ConsentEvent, pk=pk, customer=customer)
    try:
        services.take_back_statement(statement.pk, by=request.user)
    except DomainError as error:
        return _consent_card(request, customer, error=str(error))
    return _consent_card(request, customer)


@requires("core.view_history")
@require_safe
def customer_history(request: StaffRequest, public_id: UUID) -> HttpResponse:
    """Who changed what of this customer."""
    customer = visible_customer(request.user, public_id)
    before = Position.parse(request.GET.get("before", ""))
    entries, older = read_history(
        reader=request.user,
        kind="customers.customer",
        pk=customer.pk,
        before=before,
    )
    context = {"entries": entries, "older": older}
    return render(
        request, "customers/history.html", context | customer_context(request, customer, tab="history")
    )


def _visible(request: StaffRequest) -> CustomerQuerySet:
    return Customer.objects.visible_to(request.user).current()


def _with_row(found: Narrowed) -> CustomerQuerySet:
    """With all a row of the list shows: three queries for any page."""
    return found.customers.select_related("home_store").prefetch_related("identifiers", "consents")


def _exact(request: StaffRequest, chosen: dict[str, Any]) -> list[Customer]:
    """Whoever the whole search text identifies, to stand first."""
    words = chosen.get("q")
    if not words:
        return []
    others = {name: value for name, value in chosen.items() if name != "q"}
    return list(_with_row(narrowed(_visible(request), others)).identified_by(words)[:5])


def _consent_card(
    request: StaffRequest, customer: Customer, *, statement: ConsentEvent | None = None, error: str = ""
) -> HttpResponse:
    """The card as it is now; after a change with the way back, without htmx the whole page again."""
    if not request.htmx:
        if error:
            messages.error(request, error)
        return redirect(customer)
    context = consent_context(customer, list(customer.identifiers.order_by("kind", "id")))
    context |= {"error": error, "changed": consent_key(statement) if statement else ""}
    status = 422 if error else 200
    response = render(request, "customers/partials/consents.html", context, status=status)
    if statement:
        granted = statement.state == ConsentState.GRANTED
        toast = {
            "text": _("Consent recorded.") if granted else _("Consent withdrawn."),
            "undo": _undo_url(customer, statement),
            "target": "#consents",
        }
        trigger_client_event(response, "toast", toast)
    return response


def _undo_url(customer: Customer, statement: ConsentEvent) -> str:
    return reverse("customers:consent_undo", args=[customer.public_id, statement.pk])


def _is_fragment(request: StaffRequest) -> bool:
    htmx = request.htmx
    return bool(htmx and not htmx.boosted and not htmx.history_restore_request)
