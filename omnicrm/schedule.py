"""What beat rings, and how often. Each ring only asks PostgreSQL for due work, so none is ever missed.

A ring nobody heard in time expires: a worker that comes back finds one, not a thousand.
"""

from typing import Any


def ring_every(seconds: float, task: str, *args: Any) -> dict[str, Any]:
    """A beat entry for a task by its dotted name."""
    return {"task": task, "args": args, "schedule": seconds, "options": {"expires": max(seconds, 5)}}


SCHEDULE = {
    "launch due campaigns": ring_every(3, "campaigns.tasks.launch_due_campaigns"),
    # Each channel rings for itself: one that is slow holds up no other.
    "dispatch email": ring_every(2, "campaigns.tasks.dispatch_messages", "email"),
    "dispatch text messages": ring_every(2, "campaigns.tasks.dispatch_messages", "sms"),
    "recover leases": ring_every(10, "campaigns.tasks.recover_leases"),
    "collect sandbox reports": ring_every(3, "campaigns.tasks.collect_sandbox_reports"),
    "count provider reports": ring_every(3, "campaigns.tasks.process_reports"),
    "collect prices of texts": ring_every(60, "campaigns.tasks.collect_prices"),
    "drop old provider reports": ring_every(3600, "campaigns.tasks.sweep_reports"),
    "credit orders to messages": ring_every(10, "campaigns.tasks.follow_orders"),
    "tell people's clicks": ring_every(5, "campaigns.tasks.settle_clicks"),
    "count messages by their day": ring_every(10, "campaigns.tasks.follow_sent"),
    "learn people's hours": ring_every(60, "campaigns.tasks.follow_habits"),
    "foresee pressure": ring_every(600, "campaigns.tasks.measure_pressure"),
    "count what became of campaigns": ring_every(2, "campaigns.tasks.count_results"),
    "count the figures of Home": ring_every(20, "analytics.tasks.count_home"),
    "compare with those held out": ring_every(60, "campaigns.tasks.compare_outcomes"),
    "resume customer imports": ring_every(15, "customers.tasks.resume_imports"),
    "resume order imports": ring_every(15, "orders.tasks.resume_imports"),
    "recount segments": ring_every(60, "segments.tasks.recount_segments"),
    "follow segments": ring_every(5, "segments.tasks.follow_changes"),
    "drop old days of segments": ring_every(24 * 3600, "segments.tasks.drop_old_days"),
}
