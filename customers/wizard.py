"""The import wizard: file, columns, check, import. One for all kinds of file; each app wires its URLs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_htmx.http import trigger_client_event

from core.errors import DomainError
from core.http import StaffRequest

from . import exports
from .forms import ColumnsForm, CustomerOptionsForm, UploadForm
from .imports import CUSTOMERS, jobs, reader
from .imports.progress import time_left
from .imports.runner import Importer
from .models import ImportJob

STEPS = (gettext_lazy("File"), gettext_lazy("Columns"), gettext_lazy("Check"), gettext_lazy("Import"))


@dataclass(frozen=True)
class Wizard:
    """What differs between the wizards: the importer, the form of its options, the URL namespace."""

    importer: Importer
    options_form: Callable[..., Any]
    namespace: str
    title: str | Promise
    intro: str | Promise

    def url(self, name: str) -> str:
        return f"{self.namespace}:{name}"

    def job(self, pk: int) -> ImportJob:
        return get_object_or_404(
            ImportJob.objects.filter(kind=self.importer.kind).select_related("by"), pk=pk
        )


CUSTOMER_WIZARD = Wizard(
    importer=CUSTOMERS,
    options_form=CustomerOptionsForm,
    namespace="customers",
    title=gettext_lazy("Import customers"),
    intro=gettext_lazy("A row per person, with a customer number, e-mail, phone or card to know them by."),
)


def upload(request: StaffRequest, wizard: Wizard) -> HttpResponse:
    """Step one: bring a file."""
    form = UploadForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        try:
            job = jobs.bring_file(form.cleaned_data["file"], importer=wizard.importer, by=request.user)
        except DomainError as error:
            form.add_error("file", str(error))
        else:
            return redirect(wizard.url("import_job"), job.pk)
    context = {"form": form, **_frame(wizard, step=0)}
    return render(request, "customers/import_upload.html", context, status=422 if form.errors else 200)


def job(request: StaffRequest, wizard: Wizard, pk: int) -> HttpResponse:
    """Step two while it is a draft, then the progress and the result."""
    found = wizard.job(pk)
    if found.status == ImportJob.Status.DRAFT:
        return _columns(request, wizard, found)
    if request.method == "POST":
        messages.warning(request, _("This import has been started already."))
        return redirect(wizard.url("import_job"), pk)
    context = {
        "job": found,
        "rejections": found.rejections.all()[:20],
        "time_left": time_left(found.seconds_left),
        **_frame(wizard, step=3),
    }
    if request.htmx and not request.htmx.boosted and not request.htmx.history_restore_request:
        response = render(request, "customers/partials/import_progress.html", context)
        if not found.is_open:
            trigger_client_event(response, "announce", {"text": _("The import has ended.")})
        return response
    return render(request, "customers/import_progress.html", context)


def _columns(request: StaffRequest, wizard: Wizard, found: ImportJob) -> HttpResponse:
    data = request.POST if request.method == "POST" else None
    columns = ColumnsForm(data, job=found, fields=wizard.importer.fields)
    options = wizard.options_form(data, initial=found.options or None)
    is_valid = data is not None and all([columns.is_valid(), options.is_valid()])
    if is_valid and options.needs(columns.mapping()):
        chosen = {name: value for name, value in options.cleaned_data.items() if value}
        jobs.choose_columns(
            pk := found.pk, importer=wizard.importer, mapping=columns.mapping(), options=chosen
        )
        return redirect(wizard.url("import_check"), pk)
    try:
        rows = jobs.preview_rows(found)
    except DomainError as error:
        messages.error(request, str(error))
        return redirect(wizard.url("import"))
    context = {"job": found, "options": options, **_columns_context(found, columns, rows)}
    status = 422 if data is not None else 200
    return render(request, "customers/import_columns.html", context | _frame(wizard, step=1), status=status)


def _columns_context(found: ImportJob, columns: ColumnsForm, rows: list[reader.Row]) -> dict[str, Any]:
    samples = jobs.sample_of(columns.columns, rows)
    return {
        "form": columns,
        "columns": [(bound, samples[str(bound.label)]) for bound in columns],
        "headers": columns.columns,
        "rows": rows,
        "dialect": found.dialect,
    }


def check(request: StaffRequest, wizard: Wizard, pk: int) -> HttpResponse:
    """Step three: what the import would do. The page comes at once, its result by itself."""
    found = wizard.job(pk)
    if found.status != ImportJob.Status.DRAFT:
        return redirect(wizard.url("import_job"), pk)
    context: dict[str, Any] = {"job": found, **_frame(wizard, step=2)}
    if not (request.htmx or "result" in request.GET):
        return render(request, "customers/import_check.html", context)
    try:
        context["check"] = jobs.check_draft(pk, importer=wizard.importer)
    except DomainError as error:
        context["error"] = str(error)
    is_fragment = bool(request.htmx)
    name = "partials/import_check.html" if is_fragment else "import_check.html"
    return render(request, f"customers/{name}", context)


def start(request: StaffRequest, wizard: Wizard, pk: int) -> HttpResponse:
    """Step four: let the workers do it."""
    wizard.job(pk)
    try:
        jobs.start_import(pk, importer=wizard.importer, by=request.user)
    except DomainError as error:
        messages.warning(request, str(error))
    return redirect(wizard.url("import_job"), pk)


def discard(request: StaffRequest, wizard: Wizard, pk: int) -> HttpResponse:
    """Throw a draft away."""
    found = wizard.job(pk)
    try:
        jobs.discard_draft(pk)
        messages.success(request, _("The draft of “{file}” was thrown away.").format(file=found.file_name))
    except DomainError as error:
        messages.warning(request, str(error))
    return redirect("customers:imports")


def rejected(request: StaffRequest, wizard: Wizard, pk: int) -> HttpResponseBase:
    """The refused rows as CSV, to mend and bring again."""
    found = wizard.job(pk)
    if not found.rejected:
        raise Http404
    return exports.csv_response(f"rejected-{found.pk}.csv", exports.rejected_rows(found))


def _frame(wizard: Wizard, *, step: int) -> dict[str, Any]:
    """What the pages of a wizard share: its names, addresses and steps."""
    names = ("import", "import_job", "import_check", "import_start", "import_discard", "import_rejected")
    return {
        "wizard": wizard,
        "urls": {name: wizard.url(name) for name in names},
        "steps": [
            {"label": label, "done": index < step, "current": index == step}
            for index, label in enumerate(STEPS)
        ],
    }
