"""The Celery application: `celery -A omnicrm worker` and `celery -A omnicrm beat`."""

import gc
import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_init
from django_structlog.celery.steps import DjangoStructLogInitStep

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "omnicrm.settings")
app = Celery("omnicrm")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.steps["worker"].add(DjangoStructLogInitStep)


@worker_init.connect
def warm_up(**_: Any) -> None:
    """Have a worker ready before its first mail, and before it forks: its processes share what is loaded.

    All of it stays for good, so looking through it for garbage again and again finds nothing.
    """
    from campaigns import launches

    launches.warm_up()
    gc.freeze()


@setup_logging.connect
def configure_logging(**_: Any) -> None:
    """Let Django's LOGGING speak for workers too."""
    from logging.config import dictConfig

    from django.conf import settings

    dictConfig(settings.LOGGING)
