"""Totals of the past, stored for some instants; and notes of what has changed the past since."""

from django.contrib.postgres.fields import ArrayField
from django.db import models


class Point(models.Model):
    """The total at an instant: for each (service, plan) the number of followers, and the others.

    The arrays have an element for each (service, plan). Followers pay the rule's price in force at
    the instant that is asked for, so it is not here. `ledger/points.py` makes points and reads
    them.
    """

    at = models.DateTimeField(unique=True)
    services = ArrayField(models.BigIntegerField())
    plans = ArrayField(models.BigIntegerField())
    followers = ArrayField(models.BigIntegerField())
    # The number of those with a price of their own, and the sum of these prices.
    others = ArrayField(models.BigIntegerField())
    amounts = ArrayField(models.DecimalField(max_digits=20, decimal_places=2))
    # The number of all: how many a sum without this point would have to read.
    subscriptions = models.BigIntegerField()

    def __str__(self) -> str:
        return f"point at {self.at}"


class Backdated(models.Model):
    """Notes from which earlier instant on a recorded fact changes who paid, or what.

    Triggers write it (migration `0028_points`) in the transaction of the fact. Points from
    `since` on don't hold any more, until they are made anew.
    """

    since = models.DateTimeField()

    class Meta:
        verbose_name_plural = "backdated"
        indexes = [models.Index(name="backdated_since", fields=["since"])]

    def __str__(self) -> str:
        return f"backdated since {self.since}"
