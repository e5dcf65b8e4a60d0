"""Whom a choice of segments reaches before anything is written: for the wizard and its previews.

Pages ask `ask`, which leaves large audiences to a worker (campaigns.waiting).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.db import connection
from django.db.models import Max, Q
from django.utils.timezone import now

from customers.contact import contacts_params, contacts_sql
from customers.models import Channel, Customer
from segments.compiler import audience_sql
from segments.models import Segment
from segments.questions import time_limit

from . import planning, waiting
from .channels import CHANNELS
from .gates import REASON
from .models import Campaign, Message

# The same contacts and the same gates as planning, for a campaign that has no hour and no text yet.
_REACH = """
WITH audience AS MATERIALIZED ({audience}),
judged AS (
    SELECT channel, {reason} AS reason
    FROM (SELECT contact.*, NULL::timestamptz AS expires_at, now() AS due_at
          FROM ({contacts}) AS contact) AS contact
)
SELECT '' AS channel, '' AS reason, count(*) FROM audience
UNION ALL
SELECT channel, reason, count(*) FROM judged GROUP BY channel, reason
"""


@dataclass(frozen=True)
class ChannelReach:
    """One channel in words and numbers: how many it reaches, and why not the others, most frequent first."""

    channel: str
    reachable: int
    reasons: list[tuple[str, int]]

    @property
    def label(self) -> str:
        return str(Channel(self.channel).label)

    @property
    def held_back(self) -> int:
        return sum(count for _, count in self.reasons)

    @property
    def share(self) -> float:
        """Of 100, for a meter."""
        return 100 * self.reachable / ((self.reachable + self.held_back) or 1)


@dataclass
class Reach:
    """People in the audience; by channel, how many may be written to and how many not, by reason."""

    people: int = 0
    reachable: dict[str, int] = field(default_factory=dict)
    held_back: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def rows(self) -> list[ChannelReach]:
        return rows_of(self.reachable, self.held_back)


def rows_of(reachable: dict[str, int], held_back: dict[str, dict[str, int]]) -> list[ChannelReach]:
    """The figures of a Reach or a Forecast by channel, with the reasons in words."""
    return [
        ChannelReach(
            channel,
            reachable.get(channel, 0),
            [
                (str(Message.Reason(reason).label), count)
                for reason, count in sorted(
                    held_back.get(channel, {}).items(), key=lambda item: (-item[1], item[0])
                )
            ],
        )
        for channel in sorted(reachable.keys() | held_back.keys())
    ]


# --- what pages ask -------------------------------------------------------------------------------


def reach_of(include: Iterable[int], exclude: Iterable[int]) -> waiting.Answer:
    """The Reach of these segments; raises BeingCounted, and DomainError when a segment cannot be read."""
    return _ask("reach", sorted(include), sorted(exclude))


def forecast_of(campaign: Campaign) -> waiting.Answer:
    """The planning.Forecast of a campaign as it is now; raises as `reach_of` does."""
    return _ask("forecast", campaign.pk)


def languages_of(campaign: Campaign) -> waiting.Answer:
    """The languages of the audience, a list of Spoken, most spoken first; raises as `reach_of` does."""
    return _ask("languages", campaign.pk)


def kept_forecast(campaign: Campaign) -> planning.Forecast | None:
    """What a worker lately foresaw of a large audience, if the campaign is still the same."""
    kept = waiting.kept_answer(_key("forecast", (campaign.pk,)))
    return kept.found if kept else None


def find_out(question: str, *args: Any) -> None:
    """Answer a question of a page's that took too long for it; the worker's side."""
    waiting.find_out(_key(question, args), partial(_QUESTIONS[question], *args))


def _ask(question: str, *args: Any) -> waiting.Answer:
    find = partial(_QUESTIONS[question], *args)
    return waiting.answer(
        _key(question, args), find, task="campaigns.tasks.measure_audience", args=(question, *args)
    )


def _key(question: str, args: tuple[Any, ...]) -> str:
    """Names a question and the state of what it is about: another revision has another answer."""
    if question == "reach":
        segments = Segment.objects.filter(pk__in=[*args[0], *args[1]])
        state = ""
    else:
        campaign = Campaign.objects.get(pk=args[0])
        segments = Segment.objects.filter(Q(campaigns_including=campaign) | Q(campaigns_excluding=campaign))
        state = f"{campaign.revision}:"
    changed_at = segments.aggregate(at=Max("updated_at"))["at"]
    written = "-".join(str(arg) for arg in args).replace(" ", "")
    return f"campaigns.audience:{question}:{written}:{state}{changed_at and changed_at.timestamp()}"


# --- how it is found ------------------------------------------------------------------------------


def _measure_reach(include: list[int], exclude: list[int]) -> Reach:
    people = audience_sql(include, exclude, now())
    sql = _REACH.format(audience=people.sql, contacts=contacts_sql("audience"), reason=REASON)
    result = Reach(reachable=dict.fromkeys(map(str, CHANNELS), 0))
    with planning.reading_each_table_once(), connection.cursor() as cursor:
        cursor.execute(sql, people.params | contacts_params(list(CHANNELS)))
        for channel, reason, count in cursor.fetchall():
            if not channel:
                result.people = count
            elif reason:
                result.held_back.setdefault(channel, {})[reason] = count
            else:
                result.reachable[channel] = count
    return result


def _foresee(campaign_id: int) -> planning.Forecast:
    return planning.forecast(Campaign.objects.select_related("brand", "crontab").get(pk=campaign_id))


def sample_people(campaign: Campaign, *, limit: int = 8) -> list[Customer]:
    """A few people of the campaign's audience to preview it as; none while it has no audience."""
    include = list(campaign.include.values_list("pk", flat=True))
    exclude = list(campaign.exclude.values_list("pk", flat=True))
    people = audience_sql(include, exclude, now())
    sql = f"SELECT id FROM ({people.sql}) AS audience LIMIT %(limit)s"  # noqa: S608 - compiled by us
    with time_limit(), connection.cursor() as cursor:
        cursor.execute(sql, people.params | {"limit": limit})
        ids = [row[0] for row in cursor.fetchall()]
    found = Customer.objects.filter(pk__in=ids).select_related("home_store")
    return list(found.prefetch_related("identifiers").order_by("pk"))


@dataclass(frozen=True)
class Spoken:
    """A language of the audience, how many speak it ('' for unknown), and the channels with no text in it."""

    language: str
    people: int
    missing: list[str]


def _find_languages(campaign_id: int, *, limit: int = 6) -> list[Spoken]:
    campaign = Campaign.objects.get(pk=campaign_id)
    include = list(campaign.include.values_list("pk", flat=True))
    exclude = list(campaign.exclude.values_list("pk", flat=True))
    people = audience_sql(include, exclude, now())
    sql = f"""
        SELECT language, count(*) FROM customers_customer WHERE id IN ({people.sql})
        GROUP BY language ORDER BY count(*) DESC, language LIMIT %(limit)s
    """  # noqa: S608 - compiled by us, values as parameters
    with connection.cursor() as cursor:
        cursor.execute(sql, people.params | {"limit": limit})
        rows = cursor.fetchall()
    written = set(campaign.contents.values_list("channel", "language"))
    channels = sorted({channel for channel, _ in written})
    return [
        Spoken(language, count, [c for c in channels if language and (c, language) not in written])
        for language, count in rows
    ]


_QUESTIONS: dict[str, Callable[..., Any]] = {
    "reach": _measure_reach,
    "forecast": _foresee,
    "languages": _find_languages,
}
