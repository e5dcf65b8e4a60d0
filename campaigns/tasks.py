"""Doorbells: beat rings them every few seconds, and a lost ring is harmless."""

from uuid import uuid4

from celery import shared_task
from celery.worker import state

from core.doorbell import ring

from . import conversions, dispatch, reports, services

BATCHES_PER_RING = 25  # Then let the worker's other tasks have a turn.


@shared_task
def launch_due_campaigns() -> None:
    """Turn campaigns whose hour has come into messages, and ring for their dispatch."""
    if services.launch_due():
        ring("campaigns.tasks.dispatch_messages")


@shared_task
def dispatch_messages() -> None:
    """Send what is due; safe to run in any number of workers."""
    owner = uuid4()
    for _ in range(BATCHES_PER_RING):
        if state.should_stop is not None:  # Asked to shut down: what is left waits for another worker.
            return
        if not dispatch.dispatch_batch(owner=owner):
            services.finish_campaigns()
            return
    ring("campaigns.tasks.dispatch_messages")


@shared_task
def recover_leases() -> None:
    """Put back what workers that died were holding."""
    dispatch.recover_leases()


@shared_task
def collect_sandbox_reports() -> None:
    """Ask the sandbox what became of the text messages it took."""
    reports.collect_sandbox_reports()


@shared_task
def follow_orders() -> None:
    """Credit new orders to the messages before them."""
    while conversions.follow_orders():
        pass
