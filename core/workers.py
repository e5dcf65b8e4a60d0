"""What a Celery worker knows of its own end, in every process it works with."""

from mmap import mmap
from typing import Any

from celery.signals import worker_shutting_down

# Shared with the processes a worker forks: the signal to end reaches their parent alone.
_is_ending = mmap(-1, 1)


@worker_shutting_down.connect
def tell_processes(**_: Any) -> None:
    """Let every process of this worker know that it was told to end."""
    _is_ending[0] = 1


def is_asked_to_stop() -> bool:
    """Whether this worker was told to end: what is left of a task then waits for another one."""
    return bool(_is_ending[0])
