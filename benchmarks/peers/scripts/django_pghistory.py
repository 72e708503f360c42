"""django-pghistory: a trigger writes an event for each row that an UPDATE moves.

One statement a plan does the work. An event can be reverted; a preview and an approval, and a way
back for many rows, are left to whoever uses it.
"""

from datetime import datetime
from decimal import Decimal

from django_peer import DjangoPeer, rule, set_up
from worker import serve

set_up("pgtrigger", "pghistory")

import pghistory
from book.models import Plan, SubscriptionFields
from django.core.management import call_command
from django.db import transaction
from django.db.models import Sum


@pghistory.track()
class Subscription(SubscriptionFields):
    class Meta:
        app_label = "book"


Event = Subscription.pgh_event_model


class Pghistory(DjangoPeer):
    subscription = Subscription

    def __init__(self) -> None:
        self.moves = {"update(), once a plan": self.update}

    def install(self) -> None:
        call_command("pgtrigger", "install", verbosity=0)

    def update(self, price: Decimal) -> None:
        with transaction.atomic():
            service = self.new_list_price(price)
            for plan in Plan.objects.all():
                rows = Subscription.objects.filter(service=service, plan=plan)
                rows.update(price=rule(service, plan))

    def history(self) -> int:
        return Event.objects.count()

    def whole_then(self, at: datetime) -> Decimal:
        until = Event.objects.filter(pgh_created_at__lte=at)
        latest = until.order_by("pgh_obj", "-pgh_id").distinct("pgh_obj").values("pgh_id")
        return Event.objects.filter(pgh_id__in=latest).aggregate(total=Sum("price"))["total"]

    def one_then(self, at: datetime, pk: int) -> Decimal:
        return Event.objects.filter(pgh_obj=pk, pgh_created_at__lte=at).latest("pgh_id").price


serve(Pghistory())
