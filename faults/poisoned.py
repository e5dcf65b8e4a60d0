"""A Celery worker in which the text of one person, FAULTS_POISON, crashes the interpreter."""

import ctypes
import os
import sys

from celery.__main__ import main


def poison() -> None:
    """Make writing that person's mail a segmentation fault."""
    import django

    django.setup()
    from campaigns.launches import Launch

    write = Launch.mail

    def mail(self, outgoing, **arguments):
        if outgoing.address == os.environ["FAULTS_POISON"]:
            ctypes.string_at(0)
        return write(self, outgoing, **arguments)

    Launch.mail = mail


if __name__ == "__main__":
    poison()
    sys.exit(main())
