"""What every test needs: its own PostgreSQL and Valkey under var/test, and people who work here."""

import os
from pathlib import Path

os.environ.setdefault("OMNICRM_VAR", str(Path(__file__).resolve().parent / "var" / "test"))
os.environ.setdefault("OMNICRM_POSTGRES_FSYNC", "off")  # A test database need not survive a power cut.
os.environ.setdefault("LOG_LEVEL", "WARNING")

from omnicrm import embedded

embedded.start_postgres_unless_configured()
