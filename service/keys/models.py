"""API keys: one table, of which requests read a row (`pricebook.kit.stored_keys`)."""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth.models import User
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Func, Q, Value
from django.utils import timezone
from django.utils.translation import gettext_lazy as _lazy

NUMBERS = "rest_framework_api_key_apikey_number_seq"


class ApiKey(models.Model):
    """The key of a program: `prefix.secret`, of which a hash is stored.

    The first seven columns are those of djangorestframework-api-key, whose table it is.
    """

    # The prefix and the first hash. It names nothing any more; `number` does.
    id = models.CharField(max_length=150, unique=True, primary_key=True, editable=False)
    created = models.DateTimeField(auto_now_add=True, db_index=True)
    name = models.CharField(
        max_length=50,
        default=None,
        help_text=_lazy("The name of the program. It need not be unique."),
    )
    revoked = models.BooleanField(default=False, editable=False)
    expiry_date = models.DateTimeField(
        _lazy("expires"),
        blank=True,
        null=True,
        help_text=_lazy("From then on it is refused. Empty: never."),
    )
    hashed_key = models.CharField(max_length=150, editable=False)
    prefix = models.CharField(max_length=8, unique=True, editable=False)

    number = models.BigIntegerField(
        unique=True, editable=False, db_default=Func(Value(NUMBERS), function="nextval")
    )
    scopes = ArrayField(models.CharField(max_length=40), db_default=[], default=list, blank=True)
    # The person behind it (null: not known, or not there any more), and the key that made it.
    made_by = models.CharField(max_length=150, db_default="", editable=False)
    # Without indexes: keys are few.
    maker = models.ForeignKey(
        User, models.SET_NULL, null=True, related_name="+", editable=False, db_index=False
    )
    made_with = models.ForeignKey(
        "self",
        models.PROTECT,
        null=True,
        to_field="number",
        related_name="+",
        editable=False,
        db_index=False,
    )
    # The secret before the last rotation, which is good for a while.
    old_hashed_key = models.CharField(max_length=150, db_default="", editable=False)
    old_until = models.DateTimeField("old secret good until", null=True, editable=False)
    rotated_by = models.CharField(max_length=150, db_default="", editable=False)
    revoked_by = models.CharField(max_length=150, db_default="", editable=False)
    last_used_at = models.DateTimeField("last used", null=True, editable=False)

    class Meta:
        ordering = ["-created"]
        verbose_name = "API key"
        verbose_name_plural = "API keys"
        constraints = [
            models.CheckConstraint(
                name="api_key_old_secret_ends",
                condition=Q(old_hashed_key="") | Q(old_until__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} (key {self.number})"

    def state(self, now: datetime | None = None) -> str:
        """`valid`, `expired` or `revoked`; of a key that another key made, that one counts too.

        One query for such a key, unless `made_with` was fetched.
        """
        now = now or timezone.now()
        both = [self, *([self.made_with] if self.made_with is not None else [])]
        if any(key.revoked for key in both):
            return "revoked"
        ends = [key.expiry_date for key in both if key.expiry_date is not None]
        return "expired" if any(end <= now for end in ends) else "valid"
