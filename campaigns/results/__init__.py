"""The outcome of a campaign: counted by workers, read by pages."""

from .counting import count_overdue, count_results
from .figures import GROUPS, LABELS, ChannelFigures, Left, LinkFigures, Results, Share
from .foreseeing import Foreseen, forecast_of, foresee_overdue
from .people import behind, unsubscribe_events
from .reading import Listed, figures_for, kept_results, poll_seconds, results_of, speed_of

__all__ = [
    "GROUPS",
    "LABELS",
    "ChannelFigures",
    "Foreseen",
    "Left",
    "LinkFigures",
    "Listed",
    "Results",
    "Share",
    "behind",
    "count_overdue",
    "count_results",
    "figures_for",
    "forecast_of",
    "foresee_overdue",
    "kept_results",
    "poll_seconds",
    "results_of",
    "speed_of",
    "unsubscribe_events",
]
