"""Writing what each channel says, and reading it as any customer before anybody else does."""

from typing import Any
from uuid import UUID

from csp.constants import NONE, SELF
from csp.decorators import csp
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import trigger_client_event

from core.errors import DomainError
from core.http import StaffRequest
from core.policy import requires
from core.templatetags.ui import language_name
from customers.models import Channel, Customer

from . import audience, services
from .checks import CONTENT, SUBJECT_WARNS_AT
from .forms import AddContentForm, ContentForm, TestForm, sentences
from .models import Campaign, Content, Sender
from .previews import find_customers, languages, preview
from .templates import VARIABLES
from .views_wizard import editable, posted, started, wizard_context
from .wizard import next_url

# A mail brings its own styles and pictures, and nothing that runs.
MAIL_POLICY = {
    "default-src": [NONE],
    "style-src": ["'unsafe-inline'"],
    "img-src": [SELF, "data:", "https:", "http:"],
    "base-uri": [NONE],
    "form-action": [NONE],
    "frame-ancestors": [SELF],
    "sandbox": ["allow-popups"],
}


@requires("campaigns.change_campaign")
@require_safe
def content_start(request: StaffRequest, pk: int) -> HttpResponse:
    """The first text of the campaign: the one to write, or the first written."""
    campaign = editable(request, pk)
    first = campaign.contents.filter(language=campaign.brand.default_language).first()
    first = first or campaign.contents.first()
    channel = first.channel if first else Channel.EMAIL
    language = first.language if first else campaign.brand.default_language
    return redirect("campaigns:content_edit", pk=pk, channel=channel, language=language)


@requires("campaigns.change_campaign")
@require_safe
def content_add(request: StaffRequest, pk: int) -> HttpResponse:
    """Open the editor on another language; nothing is kept before it is saved."""
    campaign = editable(request, pk)
    form = AddContentForm(request.GET)
    if not form.is_valid():
        messages.error(request, _("Choose a channel and a language."))
        return redirect("campaigns:content", pk=campaign.pk)
    return redirect("campaigns:content_edit", pk=pk, **form.cleaned_data)


@requires("campaigns.change_campaign")
@require_http_methods(["GET", "HEAD", "POST"])
def content_edit(request: StaffRequest, pk: int, channel: str, language: str) -> HttpResponse:
    """The editor of one channel in one language."""
    campaign = editable(request, pk)
    if not campaign.is_editable:
        return started(request, campaign)
    content = _content(campaign, channel, language)
    form = _form(request, campaign, content)
    if request.method == "POST" and form.is_valid():
        try:
            services.save_content(
                pk, channel=channel, language=language, by=request.user, **form.cleaned_data
            )
        except DomainError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, _("Saved."))
            return redirect(next_url(campaign, CONTENT) if "next" in request.POST else request.path)
    context = _editor_context(request, campaign, content, form)
    return render(request, "campaigns/content.html", context, status=422 if form.errors else 200)


@requires("campaigns.change_campaign")
@require_POST
def content_remove(request: StaffRequest, pk: int, channel: str, language: str) -> HttpResponse:
    """Take this text out of the campaign."""
    campaign = editable(request, pk)
    try:
        services.remove_content(campaign.pk, channel=channel, language=language, by=request.user)
    except DomainError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("The text was removed."))
    return redirect("campaigns:content", pk=pk)


@requires("campaigns.view_campaign")
@require_POST
def content_preview(request: StaffRequest, pk: int, channel: str, language: str) -> HttpResponse:
    """What is typed now, as the chosen customer would read it, and how long it is."""
    campaign = editable(request, pk)
    content = _typed(request, campaign, channel, language)
    context = _preview_context(content, _customer(request)) | {"is_fragment": True}
    return render(request, "campaigns/partials/preview.html", context)


@requires("campaigns.view_campaign")
@csp(MAIL_POLICY)  # type: ignore[arg-type]  # Its types know no view with arguments.
@require_http_methods(["GET", "HEAD", "POST"])
def content_mail(request: StaffRequest, pk: int, channel: str, language: str) -> HttpResponse:
    """The mail itself, for the frame beside the editor: as saved on GET, as typed now on POST."""
    campaign = editable(request, pk)
    if request.method == "POST":
        content = _typed(request, campaign, channel, language)
    else:
        content = _with_sender(_content(campaign, channel, language))
    shown = preview(content, _customer(request))
    if shown.problem:
        return render(request, "campaigns/public/no_mail.html", {"problem": shown.problem}, status=422)
    return HttpResponse(shown.html)


@requires("campaigns.change_campaign")
@require_POST
def content_test(request: StaffRequest, pk: int, channel: str, language: str) -> HttpResponse:
    """Send what is typed now to one address, as the chosen customer would get it."""
    campaign = editable(request, pk)
    content = _typed(request, campaign, channel, language)
    form = TestForm(request.POST, channel=channel)
    if form.is_valid():
        try:
            services.send_test(content, to=form.cleaned_data["to"], customer=_customer(request))
        except DomainError as error:
            form.add_error("to", str(error))
    if not request.htmx:
        _tell_test(request, form)
        return redirect("campaigns:content_edit", pk=pk, channel=channel, language=language)
    context = {"campaign": campaign, "content": content, "test_form": form}
    response = render(request, "campaigns/partials/test.html", context, status=422 if form.errors else 200)
    if form.errors:
        return response
    return trigger_client_event(response, "toast", {"text": _sent_to(form)})


def _tell_test(request: StaffRequest, form: TestForm) -> None:
    if form.errors:
        messages.error(request, sentences(form))
    else:
        messages.success(request, _sent_to(form))


def _sent_to(form: TestForm) -> str:
    return _("A test is on its way to {address}.").format(address=form.cleaned_data["to"])


@requires("campaigns.view_campaign")
@require_safe
def preview_customers(request: StaffRequest, pk: int) -> HttpResponse:
    """The people to preview as whose name or address matches what was typed."""
    campaign = editable(request, pk)
    query = request.GET.get("q", "").strip()[:100]
    people = find_customers(request.user, query) if query else _samples(campaign)
    return render(request, "campaigns/partials/customers.html", {"people": people, "query": query})


def _content(campaign: Campaign, channel: str, language: str) -> Content:
    """The text of this channel and language, or an empty one not saved yet; 404 for what cannot be."""
    if channel not in Channel.values or language not in languages():
        raise Http404
    contents = campaign.contents.select_related("sender")
    content = contents.filter(channel=channel, language=language).first()
    content = content or Content(channel=channel, language=language)
    content.campaign = campaign
    return content


def _form(request: StaffRequest, campaign: Campaign, content: Content) -> ContentForm:
    """The form of a text; a new one may start from another language of its channel (?from=en)."""
    source = campaign.contents.filter(channel=content.channel, language=request.GET.get("from", "")).first()
    initial: dict[str, Any] = {}
    if source and not content.pk:
        initial = {name: getattr(source, name) for name in ContentForm.Meta.fields}
    return ContentForm(posted(request), instance=content, brand=campaign.brand, initial=initial)


def _typed(request: StaffRequest, campaign: Campaign, channel: str, language: str) -> Content:
    """The text as it stands in the editor, valid or not; never saved."""
    content = _content(campaign, channel, language)
    if "body" not in request.POST:
        return _with_sender(content)
    for name in ContentForm.Meta.fields:
        if name != "sender" and name in request.POST:
            limit = getattr(Content._meta.get_field(name), "max_length", None) or 50_000
            setattr(content, name, request.POST[name].replace("\0", "")[:limit])
    if not content.button_url.startswith(("https://", "http://")):
        content.button_url = ""
    sender = request.POST.get("sender", "")
    chosen = campaign.brand.senders.filter(channel=channel)
    content.sender = chosen.filter(pk=sender).first() if sender.isdecimal() else None  # type: ignore[assignment]
    return _with_sender(content)


def _with_sender(content: Content) -> Content:
    """A text with somebody to send it, so that it can be shown before a sender is chosen."""
    brand, channel = content.campaign.brand, content.channel
    if not content.sender_id:
        content.sender = brand.senders.filter(channel=channel).first() or Sender(
            brand=brand, channel=channel, name=brand.name, address="-"
        )
    return content


def _customer(request: StaffRequest) -> Customer | None:
    """The person to preview as; None for somebody of whom nothing is known."""
    wanted = request.POST.get("customer") or request.GET.get("customer") or ""
    try:
        people = Customer.objects.visible_to(request.user).select_related("home_store")
        return people.filter(public_id=UUID(wanted)).first()
    except (ValueError, ValidationError):
        return None


def _samples(campaign: Campaign) -> list[Customer]:
    try:
        return audience.sample_people(campaign)
    except DomainError:
        return []


def _preview_context(content: Content, customer: Customer | None) -> dict[str, Any]:
    return {
        "content": content,
        "preview": preview(_with_sender(content), customer),
        "subject_limit": SUBJECT_WARNS_AT,
    }


def _editor_context(
    request: StaffRequest, campaign: Campaign, content: Content, form: ContentForm
) -> dict[str, Any]:
    people = _samples(campaign)
    customer = _customer(request) or (people[0] if people else None)
    if customer and customer not in people:
        people = [customer, *people]
    shown = _typed(request, campaign, content.channel, content.language)
    test = TestForm(channel=content.channel, initial={"to": _own_address(request, content)})
    return (
        wizard_context(campaign, CONTENT)
        | _preview_context(shown, customer)
        | _tabs(campaign, content)
        | {
            "form": form,
            "is_new": content.pk is None,
            "people": people,
            "customer": customer,
            "test_form": test,
            "variables": VARIABLES,
        }
    )


def _own_address(request: StaffRequest, content: Content) -> str:
    return request.user.email if content.channel == Channel.EMAIL else ""


def _tabs(campaign: Campaign, content: Content) -> dict[str, Any]:
    """The channels and languages of the campaign, which are missing, and what may still be added."""
    written = set(campaign.contents.values_list("channel", "language"))
    channels = sorted({channel for channel, _ in written} | {content.channel})
    spoken = sorted(
        {language for _, language in written} | {content.language, campaign.brand.default_language},
        key=lambda code: (code != campaign.brand.default_language, code),
    )
    return {
        "channel_tabs": [(code, Channel(code).label) for code in channels],
        "more_channels": [(code, label) for code, label in Channel.choices if code not in channels],
        "language_tabs": [(code, (content.channel, code) in written) for code in spoken],
        "more_languages": _other_languages(spoken),
        "copy_from": [code for channel, code in sorted(written) if channel == content.channel],
    }


def _other_languages(spoken: list[str]) -> list[tuple[str, str]]:
    """Code and name of what may be added: the house's own languages first, the rest by name."""
    ours = dict(settings.LANGUAGES)
    found = [(code, language_name(code)) for code in languages() if code not in spoken]
    return sorted(found, key=lambda pair: (pair[0] not in ours, pair[1]))
