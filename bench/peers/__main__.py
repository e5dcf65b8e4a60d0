"""`python -m bench.peers <peer> <template> queue <mails>`; `… send` and `… write <mails>` wait to be told."""

import importlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import django
from django.conf import settings

from bench.processes import serve

PEERS: dict[str, dict[str, Any]] = {
    "jinja": {},
    "post_office": {
        "INSTALLED_APPS": ["django.contrib.contenttypes", "post_office"],
        "EMAIL_BACKEND": "post_office.EmailBackend",
        "POST_OFFICE": json.loads(os.environ.get("PEER_SETTINGS", "{}")),
    },
    "mailer": {
        "INSTALLED_APPS": ["django.contrib.contenttypes", "mailer"],
        "EMAIL_BACKEND": "mailer.backend.DbBackend",
        "MAILER_LOCK_PATH": str(Path(tempfile.gettempdir()) / f"send_mail-{os.getpid()}"),
    },
}


def configure(peer: str) -> None:
    """A Django project with the peer, the database and the mail server the environment names."""
    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "HOST": os.environ.get("PEER_HOST"),
                "USER": "postgres",
                "NAME": os.environ.get("PEER_DATABASE"),
                "CONN_MAX_AGE": None,
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
        SECRET_KEY="bench",
        EMAIL_HOST="127.0.0.1",
        EMAIL_PORT=int(os.environ.get("PEER_PORT", "25")),
        LOGGING={
            "version": 1,
            "handlers": {"nowhere": {"class": "logging.NullHandler"}},
            "loggers": {"post_office": {"handlers": ["nowhere"], "propagate": False}},
        },
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
        **PEERS[peer],
    )
    django.setup()


def main() -> None:
    peer, template, task, *count = sys.argv[1:]
    configure(peer)
    module = importlib.import_module(f"bench.peers.{peer}")
    source = json.loads(Path(template).read_text())
    if task == "queue":
        module.queue(source, int(count[0]))
    elif task == "write":
        serve(lambda: module.write(source, int(count[0])))
    else:
        module.refill()
        serve(module.send)


if __name__ == "__main__":
    main()
