"""The history of the catalogue: which list price, and which discount, is in force when."""

from django.db import models
from django.db.models import Func, Q, Value

from services.bounds import HIGHEST_PRICE
from services.models.clock import Clock
from services.models.exact_fields import ExactDecimalField, is_exact
from services.models.ledger import writing_transaction


class CatalogueValue(models.Model):
    """A list price or discount with the instant from which it is in force; or the undoing of one.

    It is a fact, which stays. In force at t is the value with the greatest (effective_at, id) not
    after t that is neither held nor undone at t. Ids are drawn under the lock of the service or
    plan. A trigger writes a row for a plain edit, and for a new service or plan one that holds from
    the first day on; the approval of a price change writes one whose instant is still to come. So a
    value comes into force without any worker: `Service.full_price` and `Plan.discount_percent` are
    its copies.

    The column `undone` of a value, a multirange of instants, exists only in the database: a trigger
    collects there what the rows that undo the value say, and `list_price_at` and `discount_at` read
    it.
    """

    # No foreign keys: the history outlives its service and plan.
    service_id = models.BigIntegerField(null=True)
    plan_id = models.BigIntegerField(null=True)
    value = ExactDecimalField(max_digits=12, decimal_places=2, unbounded=True, null=True)
    # Instead of a value: the id of the row that does not count from `effective_at` on, or counts
    # again (`again`) because what had undone it is undone in turn.
    undoes_id = models.BigIntegerField(null=True)
    again = models.BooleanField(db_default=False)
    effective_at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Clock())
    change_id = models.BigIntegerField("price change", null=True)
    author = models.CharField(max_length=150, db_default="")
    # The followers of before are locked, and only subscriptions that come later follow the value.
    # Or the row undoes such a value, so that they follow again.
    for_new_only = models.BooleanField(db_default=False)
    locked_until = models.DateTimeField(null=True)
    # `seen`, if approved with `hold`: the value before it that the approver saw; NULL if it takes
    # effect whatever it finds. `held`: whether it found another one; NULL until a worker has stored
    # what `value_is_held` says.
    seen = ExactDecimalField(max_digits=12, decimal_places=2, unbounded=True, null=True)
    held = models.BooleanField(null=True, db_default=False)
    # From the ledger's sequence, so that it shows whether an entry or this was written first.
    position = models.BigIntegerField(
        db_default=Func(
            Value("services_ledgerentry_id_seq"),
            function="nextval",
            output_field=models.BigIntegerField(),
        )
    )
    # Whether the work that copies it is recorded (`Repricing`).
    started = models.BooleanField(db_default=False)
    # The transactions that wrote it, and `held` if that was written later (by a trigger): by these
    # it is sealed. 0: of the time before seals.
    xact = writing_transaction()
    judged_xact = models.BigIntegerField(null=True)

    class Meta:
        indexes = [
            models.Index(
                name="value_of_service",
                fields=["service_id", "effective_at", "id"],
                condition=Q(service_id__isnull=False),
            ),
            models.Index(
                name="value_of_plan",
                fields=["plan_id", "effective_at", "id"],
                condition=Q(plan_id__isnull=False),
            ),
            models.Index(
                name="value_not_started", fields=["effective_at"], condition=Q(started=False)
            ),
            models.Index(name="value_of_change", fields=["change_id"]),
            models.Index(
                name="value_undoes", fields=["undoes_id"], condition=Q(undoes_id__isnull=False)
            ),
            models.Index(
                name="value_not_judged",
                fields=["effective_at"],
                condition=Q(held__isnull=True),
            ),
            models.Index(
                name="value_for_new_only", fields=["effective_at"], condition=Q(for_new_only=True)
            ),
            models.Index(name="value_sealed", fields=["xact", "id"]),
            models.Index(
                name="value_judged_sealed",
                fields=["judged_xact", "id"],
                condition=Q(seen__isnull=False, held__isnull=False),
            ),
        ]
        constraints = [
            models.CheckConstraint(
                name="value_of_service_or_plan",
                condition=Q(service_id=None, plan_id__isnull=False)
                | Q(service_id__isnull=False, plan_id=None),
            ),
            models.CheckConstraint(
                name="value_or_undoes",
                condition=Q(value=None, undoes_id__isnull=False)
                | Q(value__isnull=False, undoes_id=None),
            ),
            # Those of a plan are percentages, whole ones.
            models.CheckConstraint(
                name="value_exact",
                condition=(Q(plan_id=None) & is_exact("value"))
                | (Q(plan_id__isnull=False, value__lte=100) & is_exact("value", 0)),
            ),
            models.CheckConstraint(
                name="value_not_negative",
                condition=Q(value__gte=0, value__lte=HIGHEST_PRICE),
            ),
            models.CheckConstraint(
                name="value_seen_exact",
                condition=Q(seen__gte=0, seen__lte=HIGHEST_PRICE) & is_exact("seen"),
            ),
        ]

    def __str__(self) -> str:
        subject = f"service {self.service_id}" if self.plan_id is None else f"plan {self.plan_id}"
        return f"{self.value} of {subject} from {self.effective_at}"
