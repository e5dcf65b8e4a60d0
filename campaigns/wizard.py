"""The five steps of a campaign: where one stands, and what is left to mend in each."""

from dataclasses import dataclass, field

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from .checks import AUDIENCE, CONTENT, GOAL, SCHEDULE, Problem, problems
from .models import Campaign

REVIEW = "review"
STEPS: dict[str, str | Promise] = {
    GOAL: _("Goal"),
    AUDIENCE: _("Audience"),
    CONTENT: _("Content"),
    SCHEDULE: _("Schedule"),
    REVIEW: _("Review"),
}


@dataclass
class Step:
    key: str
    label: str | Promise
    url: str
    problems: list[Problem] = field(default_factory=list)

    @property
    def blocking(self) -> int:
        return sum(problem.blocks for problem in self.problems)


def steps_of(campaign: Campaign) -> list[Step]:
    """Every step with its address and its problems; an advice is a problem that does not block."""
    found = problems(campaign)
    return [
        Step(
            key,
            label,
            reverse(f"campaigns:{key}", args=[campaign.pk]),
            [problem for problem in found if problem.step == key or key == REVIEW],
        )
        for key, label in STEPS.items()
    ]


def next_url(campaign: Campaign, step: str) -> str:
    """The address of the step after this one."""
    keys = list(STEPS)
    return reverse(f"campaigns:{keys[keys.index(step) + 1]}", args=[campaign.pk])
