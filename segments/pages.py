"""What the pages of segments show, put together from questions."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.timezone import localdate, now
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from core.http import StaffRequest
from core.templatetags.ui import num
from customers.contact import name_of
from customers.models import Customer, CustomerQuerySet

from . import questions, services
from .limits import TooSlow
from .models import Segment, SegmentQuerySet
from .services import ByHand
from .tree import TreeError, parse_tree, segments_in
from .words import Names, outline

if TYPE_CHECKING:
    from core.models import User

PAGE = 50
DAYS = 30  # Of who came and went.
DECISIONS = 20  # By hand, shown on the page.
QUICK_MS = 500  # A segment that counts faster than this shows its members with the page.


def list_context(visible: SegmentQuerySet, asked: Mapping[str, str]) -> dict[str, Any]:
    """Every segment of a tab, with who uses it; searched by name and description."""
    query, is_archive = asked.get("q", "").strip()[:100], asked.get("state") == "archived"
    everything = list(visible)
    used_by = _users(one for one in everything if not one.archived_at)
    shown = [one for one in everything if bool(one.archived_at) == is_archive]
    found = [one for one in shown if query.casefold() in f"{one.name} {one.description}".casefold()]
    return {
        "query": query,
        "is_archive": is_archive,
        "rows": [{"segment": one, "used_by": used_by.get(one.pk, [])} for one in found],
        "total": len(shown),
        "archived": sum(bool(one.archived_at) for one in everything),
    }


def _users(segments: Iterable[Segment]) -> dict[int, list[Segment]]:
    """Segment id to the segments that name it."""
    users: dict[int, list[Segment]] = {}
    for segment in segments:
        if segment.is_list:
            continue
        try:
            named = segments_in(parse_tree(segment.definition))
        except TreeError:
            continue
        for pk in named:
            users.setdefault(pk, []).append(segment)
    return users


def detail_context(
    segment: Segment, visible: SegmentQuerySet, customers: CustomerQuerySet, *, before: str | None
) -> dict[str, Any]:
    """The segment in words, its users, what it may be compared with, and its members where that is quick
    or asked for (`before` given, empty for the first page)."""
    context: dict[str, Any] = {
        "segment": segment,
        "used_by": visible.active().naming(segment.pk),
        "others": visible.active().exclude(pk=segment.pk).only("name"),
        "history": _history(segment),
    }
    try:
        if not segment.is_list:
            context["outline"] = outline(parse_tree(segment.definition), Names())
            context["decisions"] = _decisions(segment, customers)
    except TreeError as error:
        context["problem"] = str(error)
    if before is not None or _is_quick(segment):
        context |= members_context(segment, customers, before=before or "")
    return context


def _is_quick(segment: Segment) -> bool:
    quick = segment.count_ms is not None and segment.count_ms < QUICK_MS
    return quick or segment.is_list or segment.is_kept(now())


def _history(segment: Segment) -> dict[str, Any] | None:
    """Who came and went, day by day, as a chart; None while there is no second day to tell of."""
    days = list(segment.days.filter(day__gt=localdate() - timedelta(days=DAYS)).order_by("day"))
    if len(days) < 2:
        return None
    came, went = sum(one.entered for one in days), sum(one.left for one in days)
    said = _("{came} came in and {went} went out in {n} days").format(came=num(came), went=num(went), n=DAYS)
    series = [
        {"name": _("Came in"), "values": [one.entered for one in days], "color": "ok"},
        {"name": _("Went out"), "values": [one.left for one in days], "color": "warn"},
    ]
    labels = [date_format(one.day, "j M") for one in days]
    return {"said": said, "chart": {"labels": labels, "series": series, "unit": None, "label": _("Day")}}


def _decisions(segment: Segment, customers: CustomerQuerySet) -> dict[str, Any]:
    """What was decided by hand, the latest first: the first few, and of how many."""
    found = segment.overrides.filter(customer__in=customers).order_by("-at", "-pk")
    shown = list(
        found.select_related("customer", "by").prefetch_related("customer__identifiers")[: DECISIONS + 1]
    )
    total = len(shown) if len(shown) <= DECISIONS else found.count()
    for one in shown:
        one.said = questions.decided(one.get_kind_display(), one.by, one.at)  # type: ignore[attr-defined]
    return {"shown": shown[:DECISIONS], "total": total}


def members_context(segment: Segment, customers: CustomerQuerySet, *, before: str) -> dict[str, Any]:
    """A page of members, newest customer first; `older` is where the next begins."""
    below = int(before) if before.isdecimal() and len(before) < 19 else None
    try:
        ids = questions.member_ids(segment.pk, before=below, limit=PAGE + 1)
    except (TooSlow, TreeError) as error:
        return {"segment": segment, "members": [], "members_problem": str(error)}
    people = questions.newest(
        ids[:PAGE], customers.select_related("home_store").prefetch_related("identifiers")
    )
    since = questions.member_since(segment, ids)
    for person in people:
        person.member_since = since.get(person.pk)  # type: ignore[attr-defined]
    older = ids[PAGE - 1] if len(ids) > PAGE else None
    return {"segment": segment, "members": people, "older": older, "is_first_page": below is None}


def memberships_context(customer: Customer, visible: SegmentQuerySet) -> dict[str, Any]:
    """Every active segment, those with this person first."""
    found = questions.segments_of(customer, list(visible.active()))
    return {
        "inside": [one for one in found if one.is_member],
        "outside": [one for one in found if not one.is_member],
    }


def way_back(segment: Segment, person: Customer) -> str:
    """Where to post to have again what holds about a person now."""
    if segment.is_list:
        back = "add" if segment.listmember_set.filter(customer=person).exists() else "remove"
    else:
        decided = segment.overrides.filter(customer=person).first()
        back = {"include": "add", "exclude": "remove"}[decided.kind] if decided else "release"
    return reverse(f"segments:member_{back}", args=[segment.pk, person.public_id])


def decide(segment: Segment, person: Customer, verb: str, *, by: "User") -> str:
    """Carry out a decision about one person; what to say about it. Raises DomainError."""
    if verb == "add":
        services.add_members(segment.pk, customer_ids=[person.pk], by=by)
        said = (
            _("{person} is on the list.") if segment.is_list else _("{person} is in, whatever the rules say.")
        )
    elif verb == "remove":
        services.remove_members(segment.pk, customer_ids=[person.pk], by=by)
        said = (
            _("{person} is off the list.")
            if segment.is_list
            else _("{person} is out, whatever the rules say.")
        )
    else:
        services.leave_to_rules(segment.pk, customer_ids=[person.pk])
        said = _("The rules decide about {person} again.")
    return said.format(person=name_of(person, person.identifiers.all()))


def tell_outcome(request: StaffRequest, outcome: ByHand, *, is_out: bool = False) -> None:
    """Say what became of a paste; what was nobody is named, the first few of it."""
    if outcome.changed or outcome.already:
        if is_out:
            said = ngettext("{n} person taken out.", "{n} people taken out.", outcome.changed)
            already = _("{text} {n} out already.")
        else:
            said = ngettext("{n} person added.", "{n} people added.", outcome.changed)
            already = _("{text} {n} there already.")
        text = said.format(n=num(outcome.changed))
        if outcome.already:
            text = already.format(text=text, n=num(outcome.already))
        messages.success(request, text)
    for written, sentence in (
        (outcome.unknown, _("Nobody has: {values}.")),
        (outcome.ambiguous, _("More than one person has: {values}.")),
    ):
        if written:
            values = ", ".join(written[:10])
            if len(written) > 10:
                values = _("{values} and {more} more").format(values=values, more=len(written) - 10)
            messages.warning(request, sentence.format(values=values))
