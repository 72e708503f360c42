"""django-simple-history: a second table, whose rows are written by signals or by its helpers.

A bulk update writes no history unless its helper is called, which takes the objects into memory.
"""

from datetime import datetime
from decimal import Decimal

from django_peer import DjangoPeer, set_up
from worker import serve

set_up("simple_history")

from book.models import SubscriptionFields
from django.core.management import call_command
from django.db import transaction
from django.db.models import Sum
from simple_history.models import HistoricalRecords
from simple_history.utils import bulk_update_with_history


class Subscription(SubscriptionFields):
    history = HistoricalRecords()

    class Meta:
        app_label = "book"


class SimpleHistory(DjangoPeer):
    subscription = Subscription

    def __init__(self) -> None:
        self.moves = {"bulk_update_with_history": self.in_bulk, "save() of each": self.one_by_one}
        self.most = {"save() of each": 5_000}

    def begin_history(self) -> None:
        call_command("populate_history", "--auto", verbosity=0)

    def in_bulk(self, price: Decimal) -> None:
        with transaction.atomic():
            rows = self.followers(self.new_list_price(price))
            bulk_update_with_history(rows, Subscription, ["price"], batch_size=1000)

    def one_by_one(self, price: Decimal) -> None:
        with transaction.atomic():
            for row in self.followers(self.new_list_price(price)):
                row.save()

    def history(self) -> int:
        return Subscription.history.count()

    def whole_then(self, at: datetime) -> Decimal:
        return Subscription.history.as_of(at).aggregate(total=Sum("price"))["total"]

    def one_then(self, at: datetime, pk: int) -> Decimal:
        return Subscription(pk=pk).history.as_of(at).price


serve(SimpleHistory())
