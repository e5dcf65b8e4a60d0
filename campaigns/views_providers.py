"""How the providers are doing, for those who keep sending going."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from core.http import StaffRequest
from core.policy import requires

from . import reports
from .carriers import carriers, label_of

POLL_SECONDS = 15


@requires("campaigns.view_providerreport")
@require_safe
def provider_list(request: StaffRequest) -> HttpResponse:
    """Each channel's provider, the inbox of their reports, and what was given up."""
    given_up = reports.dead_by_problem()
    for group in given_up:
        group["label"] = label_of(group["provider"])
    context = {
        "carriers": carriers(),
        "inbox": reports.health(),
        "given_up": given_up,
        "as_of": now(),
        "poll_seconds": POLL_SECONDS,
    }
    htmx = request.htmx
    is_fragment = htmx and not htmx.boosted and not htmx.history_restore_request
    return render(request, f"campaigns/{'partials/' if is_fragment else ''}providers.html", context)


@requires("campaigns.change_providerreport")
@require_POST
def reports_replay(request: StaffRequest) -> HttpResponse:
    """Try the given up reports of one provider and one problem again."""
    count = reports.replay(
        by=request.user,
        provider=request.POST.get("provider", ""),
        problem=request.POST.get("problem", ""),
    )
    if count:
        text = ngettext("{count} report is tried again.", "{count} reports are tried again.", count)
        messages.success(request, text.format(count=count))
    else:
        messages.info(request, _("There was nothing to try again."))
    return redirect("campaigns:providers")
