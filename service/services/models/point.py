"""Totals of the past, kept at some instants; and what has changed the past since."""

from django.contrib.postgres.fields import ArrayField
from django.db import models


class Point(models.Model):
    """Who paid at an instant: of each (service, plan) the number of followers, and the rest.

    The arrays go together, an element a (service, plan). What followers pay is the rule's price,
    which is in force at the instant that is asked for and not kept here. `ledger/points.py` makes
    points and reads them.
    """

    at = models.DateTimeField(unique=True)
    services = ArrayField(models.BigIntegerField())
    plans = ArrayField(models.BigIntegerField())
    followers = ArrayField(models.BigIntegerField())
    # Those who have a price of their own, and what these prices add up to.
    others = ArrayField(models.BigIntegerField())
    amounts = ArrayField(models.DecimalField(max_digits=20, decimal_places=2))
    # Of all, how many: what a sum without this point would have to read.
    subscriptions = models.BigIntegerField()

    def __str__(self) -> str:
        return f"point at {self.at}"


class Backdated(models.Model):
    """Something was recorded that changes who paid, or what, from an earlier instant on.

    Triggers write it (migration `0028_points`) in the transaction of the fact. Points from
    `since` on don't hold any more, until they are made anew.
    """

    since = models.DateTimeField()

    class Meta:
        verbose_name_plural = "backdated"
        indexes = [models.Index(name="backdated_since", fields=["since"])]

    def __str__(self) -> str:
        return f"backdated since {self.since}"
