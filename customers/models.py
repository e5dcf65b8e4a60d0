import uuid
from typing import TYPE_CHECKING, ClassVar

import pghistory
import pgtrigger
from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex, GinIndex, OpClass
from django.db import models
from django.db.models import F, OrderBy, Q, Value
from django.db.models.functions import Concat, Now, Upper
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from core.fields import CurrentTransactionId, TransactionIdField
from inventory.models import Store

if TYPE_CHECKING:
    from core.models import User


class Channel(models.TextChoices):
    """The ways to reach a person, as consents and messages name them."""

    EMAIL = "email", _("Email")
    SMS = "sms", _("SMS")


class Purpose(models.TextChoices):
    """What a consent allows."""

    MARKETING = "marketing", _("Marketing")
    PROFILING = "profiling", _("Profiling")
    OPEN_TRACKING = "open_tracking", _("Open tracking")


NAME_UPPER = Upper(Concat(F("first_name"), Value(" "), F("last_name")))


class CustomerQuerySet(models.QuerySet["Customer"]):
    def visible_to(self, user: "User") -> "CustomerQuerySet":
        """Store staff see the customers whose home store is theirs; everybody else sees all."""
        if user.is_store_bound:
            return self.filter(home_store__in=Store.objects.visible_to(user))
        return self

    def current(self) -> "CustomerQuerySet":
        """People we know and may work with: neither merged away nor erased."""
        return self.filter(status__in=[Customer.Status.ANONYMOUS, Customer.Status.KNOWN])

    def matching(self, words: str) -> "CustomerQuerySet":
        """Everybody with each of these words somewhere in the name or in an identifier; asks once."""
        from .search import search  # It needs the models of this file.

        return search(self, words).customers

    def identified_by(self, value: str) -> "CustomerQuerySet":
        """Whoever this whole e-mail address, phone number, customer number or card points at."""
        from .addresses import spellings  # It needs the models of this file.

        return self.filter(pk__in=Identifier.objects.filter(value__in=spellings(value)).values("customer"))


@pghistory.track(
    # Inserts are in the event log, so a million imported rows stay cheap; the old row says what it was.
    pghistory.UpdateEvent(row=pghistory.Old),
    pghistory.DeleteEvent(),
    exclude=["updated_at", "last_seen_at"],
    model_name="CustomerHistory",
)
class Customer(models.Model):
    """One person, known once."""

    class Status(models.TextChoices):
        ANONYMOUS = "anonymous", pgettext_lazy("customer", "Anonymous")
        KNOWN = "known", pgettext_lazy("customer", "Known")
        MERGED = "merged", pgettext_lazy("customer", "Merged")
        ERASED = "erased", pgettext_lazy("customer", "Erased")

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.KNOWN)
    first_name = models.CharField(_("first name"), max_length=100, blank=True)
    last_name = models.CharField(_("last name"), max_length=100, blank=True)
    language = models.CharField(_("language"), max_length=10, blank=True, help_text="ISO 639-1.")
    birth_date = models.DateField(_("birth date"), null=True, blank=True)
    city = models.CharField(_("city"), max_length=100, blank=True)
    country = models.CharField(_("country"), max_length=2, blank=True, help_text="ISO 3166-1 alpha-2.")
    timezone = models.CharField(_("time zone"), max_length=50, blank=True, help_text="IANA name.")
    home_store = models.ForeignKey(
        Store, models.SET_NULL, null=True, blank=True, related_name="customers", verbose_name=_("home store")
    )
    traits = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(_("customer since"), default=now, db_default=Now())
    updated_at = models.DateTimeField(auto_now=True, db_default=Now())
    last_seen_at = models.DateTimeField(null=True, blank=True, help_text="Time of the latest event.")

    objects: ClassVar[CustomerQuerySet] = CustomerQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("customer")
        verbose_name_plural = _("customers")
        permissions = [
            ("import_customer", "Can import customers"),
            ("export_customer", "Can export customers"),
            ("change_consent", "Can change what a customer consents to"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=["anonymous", "known", "merged", "erased"]),
                name="customer_status_known",
            ),
            models.CheckConstraint(
                condition=Q(country="") | Q(country__regex=r"^[A-Z]{2}$"), name="customer_country_iso"
            ),
        ]
        indexes = [
            # The customer list, newest first, by keyset.
            models.Index(fields=["-created_at", "-id"], name="customer_newest"),
            # Search as you type by name; the query repeats this expression.
            GinIndex(
                OpClass(NAME_UPPER, name="gin_trgm_ops"),
                name="customer_name_trigram",
            ),
        ]

    def __str__(self) -> str:
        return self.full_name or str(self.public_id)[:8]

    def get_absolute_url(self) -> str:
        return reverse("customers:detail", args=[self.public_id])

    @property
    def full_name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip()


class Identifier(models.Model):
    """Something that points at exactly one customer: an address, a card, an id in another system."""

    class Kind(models.TextChoices):
        EMAIL = "email", _("Email")
        PHONE = "phone", _("Phone")
        USER_ID = "user_id", _("Customer number")
        ANONYMOUS_ID = "anonymous_id", _("Browser")
        CARD = "card", _("Card")
        DEVICE = "device", _("Device")

    customer = models.ForeignKey(Customer, models.CASCADE, related_name="identifiers", db_index=False)
    kind = models.CharField(max_length=40, help_text="A Kind, or external:<source>.")
    value = models.CharField(max_length=254, help_text="Normalised: lower-case e-mail, E.164 phone.")
    verified_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=now, db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["kind", "value"], name="identifier_once"),
            models.CheckConstraint(condition=~Q(value=""), name="identifier_not_empty"),
        ]
        indexes = [
            # Search by any part of an address, number or card.
            GinIndex(OpClass(Upper("value"), name="gin_trgm_ops"), name="identifier_trigram"),
            # The identifiers of one customer; the preferred address of each kind, for one person or for
            # everybody in one pass that never visits the table (customers.contact, segments).
            models.Index(
                "customer",
                "kind",
                OrderBy(F("verified_at"), descending=True, nulls_last=True),
                "id",
                include=["value", "created_at"],
                name="identifier_of_customer",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"

    def get_kind_display(self) -> str:
        return str(dict(self.Kind.choices).get(self.kind, self.kind))


class EventQuerySet(models.QuerySet["Event"]):
    def settled(self) -> "EventQuerySet":
        """Events of transactions that can no longer be overtaken by a slower, older one."""
        return self.extra(where=["tx < pg_snapshot_xmin(pg_current_snapshot())"])  # type: ignore[return-value]


class Event(models.Model):
    """One thing that happened to one person: the timeline people read and the log machines follow.

    Whom it points at was held or checked by who writes it, and no customer is ever removed; PostgreSQL asking
    again cost nearly as much as writing it. `check_invariants` looks for events of nobody.
    """

    customer = models.ForeignKey(
        Customer, models.CASCADE, related_name="events", db_index=False, db_constraint=False
    )
    name = models.CharField(max_length=100)
    channel = models.CharField(max_length=20, blank=True)
    source = models.CharField(max_length=60, help_text="Who told us: 'import', 'web', 'campaigns'.")
    key = models.CharField(max_length=200, help_text="The source's own id of the event.")
    occurred_at = models.DateTimeField(default=now)
    received_at = models.DateTimeField(default=now, db_default=Now())
    store = models.ForeignKey(
        Store,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    order_ref = models.CharField(max_length=100, blank=True)
    properties = models.JSONField(default=dict, blank=True)
    tx = TransactionIdField(db_default=CurrentTransactionId(), editable=False)

    objects: ClassVar[EventQuerySet] = EventQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "key"], name="event_once")]
        indexes = [
            # The timeline of one customer, latest first; also segment conditions on one person.
            models.Index(fields=["customer", "-occurred_at", "-id"], name="event_timeline"),
            # Segment conditions: who did X since then.
            models.Index(fields=["name", "occurred_at", "customer"], name="event_name_time"),
            # Consumers read in (tx, id) order from their cursor.
            models.Index(fields=["tx", "id"], name="event_log_order"),
            # What arrived within some hours, whoever it is about: support and retention. A few pages.
            BrinIndex(fields=["received_at"], name="event_received"),
        ]

    def __str__(self) -> str:
        return f"{self.name} at {self.occurred_at:%Y-%m-%d %H:%M}"


CONSENT_PROJECTION = """
INSERT INTO customers_consent (customer_id, channel, purpose, state, event_id, effective_at)
SELECT DISTINCT ON (customer_id, channel, purpose)
       customer_id, channel, purpose, state, id, effective_at
FROM added
ORDER BY customer_id, channel, purpose, effective_at DESC, id DESC
ON CONFLICT (customer_id, channel, purpose) DO UPDATE
SET state = EXCLUDED.state, event_id = EXCLUDED.event_id, effective_at = EXCLUDED.effective_at
WHERE (EXCLUDED.effective_at, EXCLUDED.event_id)
      > (customers_consent.effective_at, customers_consent.event_id);
RETURN NULL;
"""


class ConsentState(models.TextChoices):
    GRANTED = "granted", pgettext_lazy("consent", "Yes")
    DENIED = "denied", pgettext_lazy("consent", "No")
    REVOKED = "revoked", pgettext_lazy("consent", "Withdrawn")


class ConsentEvent(models.Model):
    """What a person said about being contacted, with its proof. Lines are added, never changed.

    `Consent` is the projection of the latest line per customer, channel and purpose; a trigger keeps it,
    so every way of writing, COPY included, leaves both in step.
    """

    customer = models.ForeignKey(Customer, models.CASCADE, related_name="consent_events")
    channel = models.CharField(max_length=20, blank=True, help_text="Empty for purposes without a channel.")
    purpose = models.CharField(max_length=20, choices=Purpose.choices, default=Purpose.MARKETING)
    state = models.CharField(max_length=10, choices=ConsentState.choices)
    source = models.CharField(max_length=100, help_text="Where it was said: 'checkout form 2024'.")
    wording = models.CharField(max_length=100, blank=True, help_text="Version of the text the person read.")
    evidence = models.CharField(max_length=254, blank=True, help_text="Import file and line, page, till.")
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    effective_at = models.DateTimeField(default=now, help_text="When the person said it.")
    recorded_at = models.DateTimeField(default=now, db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=ConsentState.values), name="consent_event_state"),
            models.CheckConstraint(condition=Q(purpose__in=Purpose.values), name="consent_event_purpose"),
            models.CheckConstraint(condition=~Q(source=""), name="consent_event_has_source"),
            models.CheckConstraint(
                condition=Q(channel="") | Q(purpose="marketing"), name="consent_event_channel_for_marketing"
            ),
        ]
        triggers = [
            pgtrigger.Protect(name="append_only", operation=pgtrigger.Update),
            pgtrigger.Trigger(
                name="project",
                level=pgtrigger.Statement,
                when=pgtrigger.After,
                operation=pgtrigger.Insert,
                referencing=pgtrigger.Referencing(new="added"),
                func=CONSENT_PROJECTION,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.channel or '-'}/{self.purpose}: {self.state}"


class Consent(models.Model):
    """The state of one consent now: the latest ConsentEvent, kept by its trigger. Never written by hand.

    What its keys point at was checked for the line it comes from; `check_invariants` compares the two.
    """

    customer = models.ForeignKey(
        Customer, models.CASCADE, related_name="consents", db_index=False, db_constraint=False
    )
    channel = models.CharField(max_length=20, blank=True)
    purpose = models.CharField(max_length=20, choices=Purpose.choices)
    state = models.CharField(max_length=10, choices=ConsentState.choices)
    event = models.ForeignKey(
        ConsentEvent, models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    effective_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["customer", "channel", "purpose"], name="consent_once"),
        ]

    def __str__(self) -> str:
        return f"{self.channel or '-'}/{self.purpose}: {self.state}"


class Suppression(models.Model):
    """An address nothing is sent to any more. Keeps only a keyed hash, so it outlives erasure."""

    class Reason(models.TextChoices):
        UNSUBSCRIBED = "unsubscribed", _("Unsubscribed")
        BOUNCED = "bounced", _("Address does not exist")
        COMPLAINED = "complained", _("Complained")
        ERASED = "erased", _("Erased on request")
        MANUAL = "manual", _("Blocked by staff")

    channel = models.CharField(max_length=20, choices=Channel.choices)
    address_hash = models.BinaryField(max_length=32, help_text="HMAC-SHA256 of the normalised address.")
    reason = models.CharField(max_length=20, choices=Reason.choices)
    created_at = models.DateTimeField(default=now, db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["channel", "address_hash"], name="suppression_once"),
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.reason}"


class ImportJob(models.Model):
    """A file somebody brought, what its columns mean, how far it got and what was refused."""

    class Kind(models.TextChoices):
        CUSTOMERS = "customers", _("Customers")
        ORDERS = "orders", _("Orders")

    class Status(models.TextChoices):
        DRAFT = "draft", pgettext_lazy("import", "Draft")
        QUEUED = "queued", pgettext_lazy("import", "Queued")
        RUNNING = "running", pgettext_lazy("import", "Running")
        DONE = "done", pgettext_lazy("import", "Done")
        FAILED = "failed", pgettext_lazy("import", "Failed")

    kind = models.CharField(max_length=20, choices=Kind.choices)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.DRAFT)
    file_name = models.CharField(max_length=255)
    file = models.FileField(upload_to="imports/")
    dialect = models.JSONField(default=dict, help_text="encoding, delimiter, as sniffed.")
    mapping = models.JSONField(default=dict, help_text="Column header to field name.")
    options = models.JSONField(default=dict, help_text="Consent source and date, default country, …")
    total_bytes = models.BigIntegerField(default=0)
    done_bytes = models.BigIntegerField(default=0)
    rows = models.IntegerField(default=0)
    created = models.IntegerField(default=0)
    updated = models.IntegerField(default=0)
    unchanged = models.IntegerField(default=0)
    rejected = models.IntegerField(default=0)
    error = models.TextField(blank=True, help_text="Why the whole file failed, in plain words.")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="imports")
    created_at = models.DateTimeField(default=now)
    started_at = models.DateTimeField(null=True)
    taken_at = models.DateTimeField(null=True, help_text="When a worker took it up last; the pace since.")
    taken_rows = models.IntegerField(default=0, db_default=0, help_text="How far it was then.")
    taken_bytes = models.BigIntegerField(default=0, db_default=0)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at",)
        constraints = [
            models.CheckConstraint(
                condition=~Q(status="done")
                | Q(rows=F("created") + F("updated") + F("unchanged") + F("rejected")),
                name="import_accounts_for_every_row",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.file_name} ({self.get_kind_display()})"

    @property
    def is_open(self) -> bool:
        """Waiting for a worker or being worked through."""
        return self.status in (self.Status.QUEUED, self.Status.RUNNING)

    @property
    def share(self) -> float:
        """How much of the file is read, 0 to 1."""
        return min(self.done_bytes / self.total_bytes, 1) if self.total_bytes else 0

    @property
    def rows_per_second(self) -> float:
        """Since a worker took it up last; 0 when that cannot be said yet."""
        seconds = self._seconds_at_work
        return (self.rows - self.taken_rows) / seconds if seconds else 0

    @property
    def seconds_left(self) -> float | None:
        """At the pace of until now; None when that cannot be said yet."""
        done, left = self.done_bytes - self.taken_bytes, self.total_bytes - self.done_bytes
        is_known = self.taken_at and done > 0 and self.is_open
        return max(left, 0) * self._seconds_at_work / done if is_known else None

    @property
    def _seconds_at_work(self) -> float:
        return max(((self.finished_at or now()) - self.taken_at).total_seconds(), 0) if self.taken_at else 0


class ImportRejection(models.Model):
    """A row an import refused: where it stands, why, and the row itself so that it can be mended."""

    job = models.ForeignKey(ImportJob, models.CASCADE, related_name="rejections", db_index=False)
    line = models.IntegerField(help_text="Line in the file, the header being 1.")
    reason = models.CharField(max_length=200)
    raw = models.JSONField(help_text="The cells as read.")

    class Meta:
        ordering = ("line",)
        indexes = [models.Index(fields=["job", "line"], name="rejection_by_line")]

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"
