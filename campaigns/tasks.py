"""Doorbells: beat rings them every few seconds, and a lost ring is harmless."""

from typing import Any
from uuid import uuid4

from celery import shared_task

from core.doorbell import ring
from core.workers import is_asked_to_stop

from . import (
    audience,
    collecting,
    conversions,
    days,
    dispatch,
    habits,
    outbox,
    outcome,
    pressure,
    reports,
    results,
    services,
    tracking,
)
from .channels import CHANNELS

BATCHES_PER_RING = 10  # Then let the worker's other tasks have a turn.
COUNTS_PER_RING = 20
REPORT_BATCHES_PER_RING = 20


@shared_task
def launch_due_campaigns() -> None:
    """Turn campaigns whose hour has come into messages, and ring for their dispatch."""
    if services.launch_due():
        for channel in CHANNELS:
            ring("campaigns.tasks.dispatch_messages", str(channel))


@shared_task
def dispatch_messages(channel: str) -> None:
    """Send what is due on a channel; safe to run in any number of workers."""
    is_over = False
    with dispatch.Dispatcher(channel, uuid4(), is_asked_to_stop) as dispatcher:
        for _ in range(BATCHES_PER_RING):
            if is_over := not dispatcher.send_batch():
                break
            if is_asked_to_stop():
                return
    if is_over:
        services.finish_campaigns()
    else:
        ring("campaigns.tasks.dispatch_messages", channel)


@shared_task
def recover_leases() -> None:
    """Put back what workers that died were holding."""
    outbox.recover_leases()


@shared_task
def collect_sandbox_reports() -> None:
    """Ask the sandbox what became of the text messages it took."""
    if collecting.collect_sandbox_reports():
        process_reports()


@shared_task
def process_reports() -> None:
    """Make what providers told us count; safe to run in any number of workers."""
    for _ in range(REPORT_BATCHES_PER_RING):
        if not reports.process():
            return
    ring("campaigns.tasks.process_reports")


@shared_task
def collect_prices() -> None:
    """Ask the provider of text messages what they cost."""
    collecting.collect_prices()


@shared_task
def sweep_reports() -> None:
    """Drop reports that are long over."""
    reports.sweep()


@shared_task
def follow_orders() -> None:
    """Credit new orders to the messages before them."""
    while conversions.follow_orders():
        pass


@shared_task
def settle_clicks() -> None:
    """Tell the event log of clicks that were people's."""
    while tracking.settle_clicks():
        pass


@shared_task
def count_results() -> None:
    """Count and foresee the campaigns whose figures are overdue, for the pages to read."""
    for _ in range(COUNTS_PER_RING):
        if not results.count_overdue() and not results.foresee_overdue():
            return


@shared_task
def compare_outcomes() -> None:
    """Compare recipients with those held out, for the campaigns whose comparison is overdue."""
    for _ in range(COUNTS_PER_RING):
        if not outcome.count_overdue():
            return


@shared_task
def measure_audience(question: str, *args: Any) -> None:
    """Answer what a page asked about a large audience; without the ring the page asks again."""
    audience.find_out(question, *args)


@shared_task
def follow_sent() -> None:
    """Count what was sent towards its day, for the calendar."""
    while days.follow_sent():
        pass


@shared_task
def follow_habits() -> None:
    """Learn at which hours people open, click and buy."""
    while habits.follow_habits():
        pass


@shared_task
def measure_pressure() -> None:
    """Foresee what each day asks of people, for the calendar."""
    pressure.measure_pressure()
