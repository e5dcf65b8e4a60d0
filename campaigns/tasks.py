"""Doorbells: beat rings them every few seconds, and a lost ring is harmless."""

from uuid import uuid4

from celery import shared_task
from celery.worker import state

from core.doorbell import ring

from . import conversions, dispatch, reports, services
from .channels import CHANNELS

BATCHES_PER_RING = 10  # Then let the worker's other tasks have a turn.


@shared_task
def launch_due_campaigns() -> None:
    """Turn campaigns whose hour has come into messages, and ring for their dispatch."""
    if services.launch_due():
        for channel in CHANNELS:
            ring("campaigns.tasks.dispatch_messages", str(channel))


@shared_task
def dispatch_messages(channel: str) -> None:
    """Send what is due on a channel; safe to run in any number of workers."""
    owner = uuid4()
    for _ in range(BATCHES_PER_RING):
        if not dispatch.dispatch_batch(owner=owner, channels=[channel], should_stop=_is_asked_to_stop):
            services.finish_campaigns()
            return
        if _is_asked_to_stop():
            return
    ring("campaigns.tasks.dispatch_messages", channel)


def _is_asked_to_stop() -> bool:
    """Whether the worker was told to end: what is left waits for another one."""
    return state.should_stop is not None or state.should_terminate is not None


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
