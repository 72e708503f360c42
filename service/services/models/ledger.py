"""The ledger: every price that a subscription has had."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Func, Q, Value

from services.models.clock import Clock
from services.models.exact_fields import ExactDecimalField
from services.models.subscription import Subscription


class Entry(models.Model):
    """A price that a subscription has had, and what decided it.

    `price` is NULL in the entry of a subscription that was deleted.
    """

    # Drawn under the row's lock, so a later entry of a subscription has a greater id. And drawn
    # under the catalogue's locks: see `Repricing.position`.
    id = models.BigAutoField(primary_key=True)
    # The transaction that wrote it: the feed's order, since ids are visible out of order.
    xact = models.BigIntegerField()
    subscription_id = models.BigIntegerField()
    client_id = models.BigIntegerField()
    service_id = models.BigIntegerField()
    plan_id = models.BigIntegerField()
    price = ExactDecimalField(max_digits=12, decimal_places=2, null=True)
    price_state = models.CharField(max_length=10, choices=Subscription.PriceState)
    locked_until = models.DateTimeField(null=True)
    # The period as it was when the entry was written; NULL in entries that are older than periods.
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    # Set if it was opened again: from that end until `effective_at` nothing is paid.
    unpaid_since = models.DateTimeField(null=True)
    # Written for a start or an end: the price is the one in force, which this did not change.
    period_only = models.BooleanField(db_default=False)
    # The subscription's id in another system, in the entry of its deletion.
    source = models.CharField(max_length=50, null=True)
    external_id = models.CharField(max_length=50, null=True)
    # When the price comes into force, and when it was written: a worker may come late.
    effective_at = models.DateTimeField(db_default=Clock())
    recorded_at = models.DateTimeField(db_default=Clock())
    change_id = models.BigIntegerField("price change", null=True)
    author = models.CharField(max_length=150, db_default="")

    class Meta:
        abstract = True
        ordering = ["id"]

    def __str__(self) -> str:
        return f"subscription {self.subscription_id} at {self.price} from {self.effective_at}"


def number_of_the_ledger() -> models.BigIntegerField:
    """The id of what stands in the feed beside the entries: from their sequence."""
    return models.BigIntegerField(
        primary_key=True,
        db_default=Func(
            Value("services_ledgerentry_id_seq"),
            function="nextval",
            output_field=models.BigIntegerField(),
        ),
    )


def writing_transaction() -> models.BigIntegerField:
    """The number of the transaction that wrote it, by which the feed is ordered."""
    return models.BigIntegerField(
        db_default=Func(function="ledger_xact", output_field=models.BigIntegerField())
    )


def request_id() -> models.CharField:
    """The X-Request-ID of the web request that wrote an entry; NULL: a worker or a command did."""
    return models.CharField(
        max_length=100,
        null=True,
        db_default=Func(function="ledger_request", output_field=models.CharField(max_length=100)),
    )


class LedgerEntry(Entry):
    """An entry of the ledger about one subscription. Append-only.

    Triggers write it with each write of a price, of its state, or of the subscription's client,
    service or plan (migration `0005_ledger`), and the database refuses to change or delete it. A
    start or an end that is set, moved or cleared has an entry too (migration `0022_periods`).
    Followers that a change of the catalogue moves have theirs in `MovedFollowers`.
    """

    request_id = request_id()

    class Meta(Entry.Meta):
        abstract = False
        indexes = [
            models.Index(name="ledger_subscription", fields=["subscription_id", "id"]),
            models.Index(name="ledger_feed", fields=["xact", "id"]),
            # For all subscriptions that a client ever had: no price change gives a subscription to
            # another client, so this index has all of them, and a repricing does not write to it.
            models.Index(
                name="ledger_client",
                fields=["client_id", "subscription_id"],
                condition=Q(change_id=None),
            ),
            models.Index(
                name="ledger_change",
                fields=["change_id", "subscription_id"],
                condition=Q(change_id__isnull=False),
            ),
            models.Index(
                name="ledger_left", fields=["subscription_id", "id"], condition=Q(price=None)
            ),
            models.Index(
                name="ledger_unpaid",
                fields=["subscription_id"],
                condition=Q(unpaid_since__isnull=False),
            ),
            # For the instants at which it may change who pays, or what: see `facts_between`.
            models.Index(
                name="ledger_facts",
                fields=["effective_at", "subscription_id"],
                condition=~Q(price_state="follows") | Q(change_id=None),
            ),
            models.Index(
                name="ledger_lock_ends",
                fields=["locked_until", "subscription_id"],
                condition=Q(locked_until__isnull=False),
            ),
            models.Index(
                name="ledger_left_start",
                fields=["started_at", "subscription_id"],
                condition=Q(price=None, started_at__isnull=False),
            ),
            models.Index(
                name="ledger_left_end",
                fields=["ended_at", "subscription_id"],
                condition=Q(price=None, ended_at__isnull=False),
            ),
            models.Index(
                name="ledger_unpaid_since",
                fields=["unpaid_since", "subscription_id"],
                condition=Q(unpaid_since__isnull=False),
            ),
        ]


class MovedFollowers(models.Model):
    """The followers of a service and plan that a change of the catalogue has moved: a row a chunk.

    A row stands for the entries of its followers: in the feed, in the history of each, and among
    the rows of the change. No reader of prices needs it, because followers pay the rule's price.
    Append-only. `subscription_ids`, `number` of them, are in ascending order, from `first_id` to
    `last_id`; beside each is the id of its entry, which is from the ledger's sequence, as is the
    greater `id` of the row. `old_price` is the rule's price just before the instant.
    """

    id = number_of_the_ledger()
    xact = writing_transaction()
    change_id = models.BigIntegerField()
    service_id = models.BigIntegerField()
    plan_id = models.BigIntegerField()
    price = ExactDecimalField(max_digits=12, decimal_places=2)
    old_price = ExactDecimalField(max_digits=12, decimal_places=2)
    effective_at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Clock())
    number = models.IntegerField()
    first_id = models.BigIntegerField()
    last_id = models.BigIntegerField()
    subscription_ids = ArrayField(models.BigIntegerField())
    entry_ids = ArrayField(models.BigIntegerField())

    class Meta:
        verbose_name_plural = "moved followers"
        indexes = [
            models.Index(name="moved_feed", fields=["xact", "id"]),
            models.Index(name="moved_by_change", fields=["change_id", "last_id"]),
            models.Index(name="moved_of_pair", fields=["service_id", "plan_id", "effective_at"]),
        ]

    def __str__(self) -> str:
        return f"{len(self.subscription_ids)} at {self.price} from {self.effective_at}"


class WholeLedger(Entry):
    """A view of every entry, one row each. Finding those of one subscription in it reads all that
    was ever moved; `entries_of` in SQL finds them by indexes, as `ledger.history` does.

    It has the entries of corrections too (`correction_id`), which `entries_of` has not.
    """

    correction_id = models.BigIntegerField(null=True)

    class Meta(Entry.Meta):
        abstract = False
        managed = False
        db_table = "services_wholeledger"
