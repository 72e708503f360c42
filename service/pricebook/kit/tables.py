"""The tables of the kit: what programs may do with their keys, and what was answered to them."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from rest_framework_api_key.models import APIKey

PLAN = "price_changes.add_pricechange"
APPROVE = "price_changes.approve_pricechange"
SET_PRICE_STATE = "services.set_price_state"


class ApiKeyRights(models.Model):
    """What an API key may do besides reading; a key without this may nothing else."""

    api_key = models.OneToOneField(APIKey, on_delete=models.CASCADE, related_name="rights")
    may_plan = models.BooleanField("may plan price changes", db_default=False, default=False)
    may_approve = models.BooleanField(
        "may approve price changes",
        db_default=False,
        default=False,
        help_text="And pause, resume, cancel and revert them.",
    )
    may_set_price_states = models.BooleanField(
        "may set price states",
        db_default=False,
        default=False,
        help_text="Lock, release, negotiate, follow.",
    )

    class Meta:
        verbose_name = verbose_name_plural = "rights of the key"

    def __str__(self) -> str:
        return f"rights of {self.api_key}"

    def permissions(self) -> frozenset[str]:
        given = {
            PLAN: self.may_plan,
            APPROVE: self.may_approve,
            SET_PRICE_STATE: self.may_set_price_states,
        }
        return frozenset(permission for permission, may in given.items() if may)


class AnsweredRequest(models.Model):
    """A request with an Idempotency-Key that had its effect, and its answer (`idempotency.py`).

    Written in the transaction of the effect: the one is there if and only if the other is.
    """

    identity = models.CharField(max_length=200)
    key = models.CharField(max_length=100)
    request_hash = models.CharField(max_length=64)  # of method, path and body
    status_code = models.SmallIntegerField(null=True)  # null: its transaction still runs
    answer = models.BinaryField(null=True)
    answered_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(name="answered_request_once", fields=["identity", "key"]),
            models.CheckConstraint(
                name="answered_request_has_answer",
                condition=Q(status_code=None, answer=None)
                | Q(status_code__isnull=False, answer__isnull=False),
            ),
        ]
        indexes = [models.Index(name="answered_request_age", fields=["answered_at"])]

    def __str__(self) -> str:
        return f"{self.key} of {self.identity}"
