"""django-auditlog: a record of the fields that have changed, from what to what, for each save().

It keeps no whole rows, so a price at an instant is what the next change has changed it from.
"""

from datetime import datetime
from decimal import Decimal

from django_peer import DjangoPeer, set_up
from worker import serve

set_up("auditlog")

from auditlog.models import LogEntry
from auditlog.registry import auditlog
from book.models import SubscriptionFields
from django.db import transaction


class Subscription(SubscriptionFields):
    class Meta:
        app_label = "book"


auditlog.register(Subscription)


class Auditlog(DjangoPeer):
    subscription = Subscription

    def __init__(self) -> None:
        self.moves = {"save() of each": self.one_by_one}
        self.most = {"save() of each": 5_000}

    def one_by_one(self, price: Decimal) -> None:
        with transaction.atomic():
            for row in self.followers(self.new_list_price(price)):
                row.save()

    def history(self) -> int:
        return LogEntry.objects.count()

    def one_then(self, at: datetime, pk: int) -> Decimal:
        # Its default order is the newest first.
        after = LogEntry.objects.get_for_object(Subscription(pk=pk)).filter(timestamp__gt=at)
        return Decimal(after.last().changes_dict["price"][0])


serve(Auditlog())
