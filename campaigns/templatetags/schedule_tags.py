"""A campaign's schedule in words, for every page that shows one."""

from django import template

from campaigns.models import Campaign
from campaigns.words import repeat_words, schedule_words

register = template.Library()


@register.filter
def in_words(campaign: Campaign) -> str:
    """When it goes out, as one sentence without its full stop."""
    return schedule_words(campaign)


@register.filter
def repeats(campaign: Campaign) -> str:
    """How a series repeats: 'Every Monday at 10:00'."""
    return repeat_words(campaign)
