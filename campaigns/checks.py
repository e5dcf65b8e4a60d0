"""What stands between a campaign and its launch: each problem named, with the step that mends it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.utils.timezone import now
from django.utils.translation import gettext as _

from customers.models import Channel

from .models import Campaign, Content
from .occurrences import next_wall
from .rendering import compile_parts
from .templates import TemplateProblem, check

GOAL, AUDIENCE, CONTENT, SCHEDULE = "goal", "audience", "content", "schedule"
GMAIL_CLIPS_AT = 102_000  # Bytes of HTML.
SUBJECT_WARNS_AT = 60
TEXTS = ("subject", "preheader", "heading", "body", "button_label")


@dataclass(frozen=True)
class Problem:
    """Something to mend; `blocks` tells a must from an advice."""

    step: str
    text: str
    blocks: bool = True


def problems(campaign: Campaign) -> list[Problem]:
    """Everything to mend before sending, step by step."""
    contents = list(campaign.contents.select_related("sender", "campaign__brand"))
    return [
        *_audience_problems(campaign),
        *_coverage_problems(campaign, contents),
        *(problem for content in contents for problem in _content_problems(content)),
        *_schedule_problems(campaign),
    ]


def _audience_problems(campaign: Campaign) -> Iterator[Problem]:
    included = list(campaign.include.all())
    if not included:
        yield Problem(AUDIENCE, _("Choose at least one segment to send to."))
    for segment in [*included, *campaign.exclude.all()]:
        if segment.archived_at:
            yield Problem(AUDIENCE, _("The segment “{name}” is archived.").format(name=segment.name))


def _coverage_problems(campaign: Campaign, contents: list[Content]) -> Iterator[Problem]:
    if not contents:
        yield Problem(CONTENT, _("Write the text of at least one channel."))
    language = campaign.brand.default_language
    for channel in sorted({content.channel for content in contents}):
        if not any(c.channel == channel and c.language == language for c in contents):
            yield Problem(
                CONTENT,
                _("{channel} has no text in the brand's default language ({language}).").format(
                    channel=Channel(channel).label, language=language
                ),
            )


def _content_problems(content: Content) -> Iterator[Problem]:
    where = f"{content.get_channel_display()} · {content.language.upper()}"
    unreadable = list(_template_problems(content, where))
    yield from unreadable or _layout_problems(content, where)
    if content.sender.channel != content.channel or content.sender.brand_id != content.campaign.brand_id:
        yield Problem(CONTENT, _("{where}: choose a sender of this brand.").format(where=where))
    if not content.body.strip():
        yield Problem(CONTENT, _("{where}: the text is empty.").format(where=where))
    if content.channel == Channel.EMAIL:
        yield from _email_problems(content, where)
    elif "unsubscribe_url" not in content.body:
        yield Problem(
            CONTENT,
            _("{where}: add {variable} so that people can stop your messages.").format(
                where=where, variable="{{ unsubscribe_url }}"
            ),
            blocks=False,
        )


def _template_problems(content: Content, where: str) -> Iterator[Problem]:
    for name in TEXTS:
        try:
            check(getattr(content, name))
        except TemplateProblem as problem:
            yield Problem(CONTENT, f"{where}: {problem}")


def _layout_problems(content: Content, where: str) -> Iterator[Problem]:
    try:
        html = compile_parts(content, {}).html
    except TemplateProblem as problem:
        yield Problem(CONTENT, f"{where}: {problem}")
        return
    if len(html.encode()) > GMAIL_CLIPS_AT:
        yield Problem(
            CONTENT,
            _("{where}: Gmail cuts a mail this long before its end.").format(where=where),
            blocks=False,
        )


def _email_problems(content: Content, where: str) -> Iterator[Problem]:
    if not content.subject.strip():
        yield Problem(CONTENT, _("{where}: the subject is empty.").format(where=where))
    elif len(content.subject) > SUBJECT_WARNS_AT:
        yield Problem(
            CONTENT,
            _("{where}: a subject over {limit} characters is cut on phones.").format(
                where=where, limit=SUBJECT_WARNS_AT
            ),
            blocks=False,
        )
    if bool(content.button_label) != bool(content.button_url):
        yield Problem(CONTENT, _("{where}: a button needs both a label and an address.").format(where=where))


def _schedule_problems(campaign: Campaign) -> Iterator[Problem]:
    at = now()
    is_for_one_moment = campaign.clock == Campaign.Clock.MOMENT and campaign.crontab is None
    if is_for_one_moment:
        late = campaign.send_at and campaign.send_at < at - timedelta(minutes=1)
        if campaign.is_editable and late:
            yield Problem(SCHEDULE, _("The chosen time has passed: it would be sent at once."), blocks=False)
        if campaign.expires_at and campaign.expires_at <= max(campaign.send_at or at, at):
            yield Problem(SCHEDULE, _("The campaign would expire before it is sent."))
    elif campaign.is_editable and next_wall(campaign, at) is None:
        yield Problem(SCHEDULE, _("Its day is over everywhere, or its series has ended. Choose a new one."))
