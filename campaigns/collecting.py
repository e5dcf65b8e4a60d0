"""Reports nobody brings: fetched from providers that wait to be asked."""

from datetime import datetime, timedelta
from typing import Any

import requests
import structlog
from django.conf import settings
from django.db import connection

from . import inbox
from .channels import sms, twilio

log = structlog.get_logger(__name__)

ASK_FOR_PRICES_FOR = timedelta(hours=24)
SPAN = timedelta(minutes=15)
PAGES = 20  # Of a thousand texts each.

# The start of a span with texts whose price is not known, any of them: one whose prices never come must not
# stand in the way of the others. Uses message_unpriced.
_UNPRICED = """
SELECT span FROM (
    SELECT DISTINCT date_bin(%(span)s, sent_at, 'epoch') AS span FROM campaigns_message
    WHERE provider = 'twilio' AND cost_micros IS NULL
      AND sent_at BETWEEN now() - %(ask)s AND now() - interval '1 minute'
) AS spans ORDER BY random() LIMIT 1
"""


def collect_sandbox_reports() -> int:
    """Take the reports the sandbox owes; returns how many there were."""
    return sms.collect()


def collect_prices() -> int:
    """Ask Twilio what the texts of one span cost and what became of them; returns how many notices came."""
    if settings.SMS_PROVIDER != "twilio":
        return 0
    params: dict[str, Any] = {"span": SPAN, "ask": ASK_FOR_PRICES_FOR}
    with connection.cursor() as cursor:
        cursor.execute(_UNPRICED, params)
        found: tuple[datetime] | None = cursor.fetchone()
    if found is None:
        return 0
    taken = 0
    margin = timedelta(minutes=2)  # Between our clock and theirs.
    try:
        for notices in twilio.sent_between(found[0] - margin, found[0] + SPAN + margin, pages=PAGES):
            inbox.receive(notices)
            taken += len(notices)
    except requests.RequestException as error:
        log.warning("prices_not_collected", error=type(error).__name__)
    return taken
