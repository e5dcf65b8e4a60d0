import time
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Any

from django.utils.timezone import now

from campaigns import conversions, services
from campaigns.models import Brand, Campaign, Sender
from core.models import User
from core.tests.factories import make_user
from customers.models import Channel
from segments.models import Segment

_numbers = count(1)
EVERYBODY = {"type": "all", "nodes": []}


def make_brand(**fields: Any) -> Brand:
    """A brand that may write at any hour and as often as it likes, with one sender per channel."""
    defaults = {
        "name": f"Brand {next(_numbers)}",
        "postal_address": "Via Roma 1, Milano",
        "quiet_from": "00:00",
        "quiet_until": "00:00",
        "weekly_points": None,
        "daily_messages": None,
    }
    brand = Brand.objects.create(**(defaults | fields))
    Sender.objects.create(brand=brand, channel=Channel.EMAIL, name=brand.name, address="news@brand.example")
    Sender.objects.create(brand=brand, channel=Channel.SMS, name=brand.name, address="Brand")
    return brand


def make_segment(*, definition: dict[str, Any] | None = None, name: str = "") -> Segment:
    """Everybody, unless told otherwise."""
    return Segment.objects.create(
        name=name or f"Segment {next(_numbers)}", definition=definition or EVERYBODY
    )


def make_campaign(
    *,
    brand: Brand | None = None,
    channels: tuple[str, ...] = ("email",),
    include: tuple[Segment, ...] = (),
    exclude: tuple[Segment, ...] = (),
    by: User | None = None,
    body: str = "Hello {{ first_name | default: 'you' }}, see https://brand.example/new",
    **fields: Any,
) -> Campaign:
    """A draft to everybody with an English text per channel."""
    brand = brand or make_brand()
    by = by or make_user()
    fields = {"holdout_percent": 0} | fields  # Tests that want a holdout ask for it.
    campaign = services.create_campaign(name=f"Campaign {next(_numbers)}", brand=brand, by=by, **fields)
    services.set_audience(campaign.pk, include=include or [make_segment()], exclude=exclude, by=by)
    for channel in channels:
        services.save_content(
            campaign.pk,
            channel=channel,
            language="en",
            by=by,
            sender=brand.senders.get(channel=channel),
            subject="Hello {{ first_name }}" if channel == "email" else "",
            body=body,
        )
    campaign.refresh_from_db()
    return campaign


def launch(campaign: Campaign, **schedule: Any) -> Campaign:
    """Schedule for a moment ago and plan its messages."""
    by = make_user()
    services.schedule_campaign(campaign.pk, send_at=now() - timedelta(seconds=1), by=by, **schedule)
    assert services.launch_next() is not None
    campaign.refresh_from_db()
    return campaign


def read_the_whole_log(orders: int) -> None:
    """Follow the log of orders to its end."""
    read_log(conversions.follow_orders, orders)


def read_log(follow: Callable[[], int], rows: int) -> None:
    """Follow the log to its end; events wait for transactions still running elsewhere in the cluster."""
    read, deadline = 0, time.monotonic() + 60
    while read < rows:
        read += follow()
        assert time.monotonic() < deadline, f"Only {read} of {rows} events could be read."
