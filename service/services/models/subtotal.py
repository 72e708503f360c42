"""Parts of the total."""

from django.db import models

from services.models.in_force import InForceQuerySet


def _number() -> models.BigIntegerField:
    return models.BigIntegerField(db_default=0)


def _amount() -> models.DecimalField:
    return models.DecimalField(max_digits=20, decimal_places=2, db_default=0)


class Subtotal(models.Model):
    """A part of the total: the rows of one (service, plan) add up to its count and amount.

    Triggers append a row for every statement that changes the book (migration `0003_total`), so
    that no writer waits for another's counter; `total.fold()` merges rows and changes no sum.
    `changes` counts statements, and boundaries that the fold takes over: its sum over the table
    is the version of the book.
    """

    service_id = models.BigIntegerField(null=True)
    plan_id = models.BigIntegerField(null=True)
    subscriptions = _number()
    amount = _amount()
    # The followers without an end among these rows, and the sum of their stored prices.
    followers = _number()
    followers_amount = _amount()
    # The rows that had begun and had not ended when they were written, and the followers among
    # them. Starts and ends that have passed since are in `PaidBoundary`, until the fold.
    paid_subscriptions = _number()
    paid_amount = _amount()
    paid_followers = _number()
    paid_followers_amount = _amount()
    changes = models.BigIntegerField(db_default=1)

    objects = InForceQuerySet.as_manager()

    def __str__(self) -> str:
        return f"subtotal of service {self.service_id}, plan {self.plan_id}"


class PaidBoundary(models.Model):
    """The change of what a (service, plan) pays from an instant on: starts less ends.

    Triggers append a row for every statement and instant to come (migration `0023_who_pays`), as
    for the subtotals; `total.fold()` merges the rows, and adds those that have passed to the
    subtotals.
    """

    service_id = models.BigIntegerField()
    plan_id = models.BigIntegerField()
    at = models.DateTimeField()
    subscriptions = _number()
    amount = _amount()
    # The followers among these.
    followers = _number()
    followers_amount = _amount()

    class Meta:
        indexes = [models.Index(name="paid_boundary_at", fields=["at"])]

    def __str__(self) -> str:
        return f"boundary of service {self.service_id}, plan {self.plan_id} at {self.at}"
