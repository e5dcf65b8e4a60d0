"""What the pages of segments show, put together from questions."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib import messages
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from core.http import StaffRequest
from customers.models import Customer, CustomerQuerySet

from . import questions
from .models import Segment, SegmentQuerySet
from .services import Added
from .tree import TreeError, parse_tree, segments_in
from .words import Names, outline

PAGE = 50
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
    }
    try:
        if not segment.is_list:
            context["outline"] = outline(parse_tree(segment.definition), Names())
    except TreeError as error:
        context["problem"] = str(error)
    if before is not None or _is_quick(segment):
        context |= members_context(segment, customers, before=before or "")
    return context


def _is_quick(segment: Segment) -> bool:
    return segment.is_list or (segment.count_ms is not None and segment.count_ms < QUICK_MS)


def members_context(segment: Segment, customers: CustomerQuerySet, *, before: str) -> dict[str, Any]:
    """A page of members, newest customer first; `older` is where the next begins."""
    below = int(before) if before.isdecimal() and len(before) < 19 else None
    try:
        ids = questions.member_ids(segment.pk, before=below, limit=PAGE + 1)
    except (questions.TooSlow, TreeError) as error:
        return {"segment": segment, "members": [], "members_problem": str(error)}
    people = questions.newest(
        ids[:PAGE], customers.select_related("home_store").prefetch_related("identifiers")
    )
    older = ids[PAGE - 1] if len(ids) > PAGE else None
    return {"segment": segment, "members": people, "older": older, "is_first_page": below is None}


def memberships_context(customer: Customer, visible: SegmentQuerySet) -> dict[str, Any]:
    """Every active segment, those with this person first."""
    found = questions.segments_of(customer, list(visible.active()))
    return {
        "inside": [one for one in found if one.is_member],
        "outside": [one for one in found if not one.is_member],
    }


def tell_outcome(request: StaffRequest, outcome: Added) -> None:
    """Say what became of a paste; what was nobody is named, the first few of it."""
    if outcome.added or outcome.already:
        added = ngettext("{n} person added.", "{n} people added.", outcome.added)
        text = added.format(n=outcome.added)
        if outcome.already:
            text = _("{text} {n} already on the list.").format(text=text, n=outcome.already)
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
