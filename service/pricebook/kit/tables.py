"""The table of the kit: answers to requests that may be repeated."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


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
