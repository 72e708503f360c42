"""The least that holds a price book: the tables that a Django developer writes first.

Each peer makes its `Subscription` of `SubscriptionFields`, with what its package asks for.
"""

from django.db import models


class Client(models.Model):
    company_name = models.CharField(max_length=100)
    email = models.EmailField(unique=True)


class Service(models.Model):
    name = models.CharField(max_length=50, unique=True)
    full_price = models.DecimalField(max_digits=12, decimal_places=2)


class Plan(models.Model):
    plan_type = models.CharField(max_length=10)
    discount_percent = models.PositiveSmallIntegerField()


class SubscriptionFields(models.Model):
    client = models.ForeignKey(Client, models.PROTECT)
    service = models.ForeignKey(Service, models.PROTECT)
    plan = models.ForeignKey(Plan, models.PROTECT)
    price = models.DecimalField(max_digits=12, decimal_places=2)
    external_id = models.CharField(max_length=50, unique=True)
    started_at = models.DateTimeField()

    class Meta:
        abstract = True
