"""The tables of the kit: rights of API keys, and answers to requests that may be repeated."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from rest_framework_api_key.models import APIKey

PLAN = "price_changes.add_pricechange"
APPROVE = "price_changes.approve_pricechange"
SET_PRICE_STATE = "services.set_price_state"


class ApiKeyRights(models.Model):
    """The rights of an API key besides reading; a key without this row may only read."""

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
    """A request with an Idempotency-Key that has had its effect, and its answer (`idempotency.py`).

    It is written in the transaction of the effect: there is one if and only if there is the other.
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
