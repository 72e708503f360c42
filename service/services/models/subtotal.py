"""Parts of the total."""

from django.db import models

from services.models.in_force import InForceQuerySet


class Subtotal(models.Model):
    """A part of the total: the rows of one (service, plan) add up to its count and amount.

    Triggers append a row for every statement that changes the book (migration `0003_total`), so
    that no writer waits for another's counter; `total.fold()` merges rows and changes no sum.
    `changes` counts statements: its sum over the table is the version of the book.
    """

    service_id = models.BigIntegerField(null=True)
    plan_id = models.BigIntegerField(null=True)
    subscriptions = models.BigIntegerField(db_default=0)
    amount = models.DecimalField(max_digits=20, decimal_places=2, db_default=0)
    # Of these rows those that follow and have no end, and what is stored of their prices.
    followers = models.BigIntegerField(db_default=0)
    followers_amount = models.DecimalField(max_digits=20, decimal_places=2, db_default=0)
    changes = models.BigIntegerField(db_default=1)

    objects = InForceQuerySet.as_manager()

    def __str__(self) -> str:
        return f"subtotal of service {self.service_id}, plan {self.plan_id}"
