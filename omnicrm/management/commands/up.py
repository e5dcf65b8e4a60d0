"""`manage.py up`: the whole product on one machine, until Ctrl-C."""

import os
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from honcho.manager import Manager

from ... import demo

PYTHON = sys.executable
CELERY = f"{PYTHON} -m celery -q -A omnicrm"
WORKER = f"{CELERY} worker --pool=solo --without-mingle"  # Ctrl-C reaches whatever runs, so nothing forks.
WORKERS = 2


class Command(BaseCommand):
    help = "Run web, worker, beat and the local mail server; with --demo, on the demo retailer's data."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument(
            "--demo", action="store_true", help="load the demo retailer and show its campaign"
        )

    def handle(self, *args: Any, port: int, **options: Any) -> None:
        mail_port = settings.EMAIL_PORT if settings.IS_EMBEDDED else None
        for number, name in ((port, "PORT"), (mail_port, "the port in EMAIL_URL")):
            if number and _is_taken(number):
                raise CommandError(f"Port {number} is taken. Choose another with {name}.")
        call_command("migrate", verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        manager = Manager()
        for name, command in _processes(port, mail_port):
            manager.add_process(name, command, env=_environment(port, name))
        if options["demo"]:
            story = demo.prepare(self.stdout)
            threading.Thread(target=demo.tell, args=(story, port, self.stdout), daemon=True).start()
        else:
            self.stdout.write(f"OmniCRM is at http://localhost:{port}/ — Ctrl-C stops it.")
        manager.loop()
        if manager.returncode not in (0, 130, -2, -15):
            raise CommandError("One of the processes ended; its last lines are above.")


def _processes(port: int, mail_port: int | None) -> Iterator[tuple[str, str]]:
    yield (
        "web",
        f"{PYTHON} -m granian --interface wsgi --host 127.0.0.1 --port {port} --workers 2 "
        "--blocking-threads 4 --log-level warning --no-access-log omnicrm.wsgi:application",
    )
    for number in range(1, WORKERS + 1):
        yield f"worker.{number}", f"{WORKER} --hostname=worker{number}@%h"
    yield "worker.imports", f"{WORKER} --queues=imports,pages --hostname=imports@%h"
    yield "segments", f"{WORKER} --queues=segments,pages --hostname=segments@%h"
    yield "beat", f"{CELERY} beat --pidfile="
    if mail_port:
        yield "mail", f"{PYTHON} manage.py mailbox --port {mail_port}"


def _environment(port: int, name: str) -> dict[str, str]:
    """Quiet processes, links that lead here, and no warning that a container runs the worker as root."""
    defaults = {
        "OMNICRM_PROCESS": name.partition(".")[0],
        "LOG_LEVEL": "WARNING",
        "PUBLIC_URL": f"http://localhost:{port}",
        "PYTHONWARNINGS": "ignore:You're running the worker",
    }
    return defaults | dict(os.environ)


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
