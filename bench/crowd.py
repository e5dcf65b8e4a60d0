"""People to write to, and a campaign of 20 KB mails to write to them."""

from datetime import datetime, timedelta
from pathlib import Path

from django.db import connection
from django.utils.timezone import now

from campaigns import services
from campaigns.models import Brand, Campaign, Message, Sender
from campaigns.switch import turn_sends
from core.models import User
from core.roles import Role
from customers.models import Channel, ConsentEvent, ConsentState, Customer, Identifier
from segments.models import Segment

from . import database

FIRST_NAMES = ["Anna", "Luca", "Chloë", "D’Angelo", "Zoë", "Søren", "Maria", "O'Neill", "", "Renée"]
CITIES = ["Milano", "Forlì", "Köln", "Torino", ""]
DOMAINS = 40  # Receiving domains the people are spread over.
MAIL_BYTES = 20 * 1024
BATCH = 5_000
# What a mail says: 15 tracked links, enough text for 20 KB of MIME, something personal here and there.
PARAGRAPHS = 14
PERSONAL = (1, 6, 11)  # The paragraphs that speak to one person.
_PARAGRAPH = (
    "**{number}. The new collection is here.** Soft wool, warm colours, all cut and sewn near here, "
    "made to last for many winters, and mended for free as long as you wear it. [Look at it now]"
    "(https://shop.example/collection/{number}), or come and see it in the shop nearest to you."
)
_FILLER = " Nothing in it has travelled further than the sheep that gave it, and whoever knits it signs it."
_PERSONAL = (
    " For you, {{ first_name | default: 'dear friend' }}, it waits{% if city != '' %} in {{ city }} too"
    "{% endif %}: with {{ traits.points }} points you have more than you think."
)


def prepared(people: int) -> str:
    """The database with so many people who may be written to, and nobody else."""
    return database.prepared(f"crowd_{people}", lambda: _fill(people), Path(__file__))


def launch(people: int) -> Campaign:
    """Forget what was sent before, and launch a campaign to everybody; nothing has left yet."""
    forget()
    turn_sends(True, by="bench")  # Copies of a database are silent until somebody says so.
    campaign = schedule()
    if services.launch_next() is None:
        raise AssertionError("The campaign was not launched.")
    planned = Message.objects.filter(status=Message.Status.PLANNED).count()
    if planned != people:
        raise AssertionError(f"{planned} messages planned for {people} people.")
    return campaign


def forget() -> None:
    """Empty the outbox, and the event log of what came from it."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE campaigns_message CASCADE")
        cursor.execute("DELETE FROM customers_event WHERE source = 'campaigns'")


def furnish() -> None:
    """What a campaign needs: somebody who writes it, a brand, a sender, a segment of everybody."""
    User.objects.create_user("bench@example.com", None, name="Bench", role=Role.MARKETING_MANAGER)
    brand = Brand.objects.create(
        name="Maglia", postal_address="Via Roma 1, Milano", approval_above=2_000_000_000
    )
    Sender.objects.create(brand=brand, channel=Channel.EMAIL, name="Maglia", address="news@maglia.example")
    Segment.objects.create(name="Everybody", definition={"type": "all", "nodes": []})


def schedule(send_at: datetime | None = None) -> Campaign:
    """A campaign to everybody; without `send_at` its hour has come, and the next launch plans it."""
    by = User.objects.get()
    campaign = services.create_campaign(
        name="Autumn", brand=Brand.objects.get(), by=by, respect_quiet_hours=False, holdout_percent=0
    )
    services.set_audience(campaign.pk, include=[Segment.objects.get()], exclude=[], by=by)
    services.save_content(
        campaign.pk,
        channel=Channel.EMAIL,
        language="en",
        by=by,
        sender=Sender.objects.get(),
        subject="{{ first_name | default: 'Good news' }}, the new collection is here",
        preheader="Soft wool, warm colours",
        heading="The new collection",
        body=_body(),
        button_label="To the shop",
        button_url="https://shop.example/new",
    )
    moment = send_at or now() - timedelta(seconds=1)
    return services.schedule_campaign(campaign.pk, send_at=moment, by=by)


def _body() -> str:
    return "\n\n".join(
        _PARAGRAPH.format(number=number) + (_PERSONAL if number in PERSONAL else _FILLER)
        for number in range(1, PARAGRAPHS + 1)
    )


def _fill(people: int) -> None:
    for first in range(1, people + 1, BATCH):
        _add_people(range(first, min(first + BATCH, people + 1)))
    furnish()


def _add_people(numbers: range) -> None:
    customers = Customer.objects.bulk_create(
        Customer(
            first_name=FIRST_NAMES[n % len(FIRST_NAMES)],
            last_name=f"Person {n}",
            city=CITIES[n % len(CITIES)],
            language="en",
            traits={"points": n % 500},
        )
        for n in numbers
    )
    Identifier.objects.bulk_create(
        Identifier(
            customer=customer, kind=Identifier.Kind.EMAIL, value=f"person{n}@mail{n % DOMAINS}.example"
        )
        for n, customer in zip(numbers, customers, strict=True)
    )
    ConsentEvent.objects.bulk_create(
        ConsentEvent(
            customer=customer, channel=Channel.EMAIL, state=ConsentState.GRANTED, source="bench", wording="1"
        )
        for customer in customers
    )
