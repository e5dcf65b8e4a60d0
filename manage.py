#!/usr/bin/env python
"""Django's command line, with the embedded services up when none were named."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "omnicrm.settings")
    from omnicrm import embedded

    embedded.start()
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
