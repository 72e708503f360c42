"""django-reversion: each version of an object as JSON, written where a revision is open.

It has no way to move a set, and none to the whole book at an instant: a version belongs to an
object, and is read by it.
"""

from datetime import datetime
from decimal import Decimal

from django_peer import DjangoPeer, set_up
from worker import serve

set_up("reversion")

import reversion
from book.models import SubscriptionFields
from django.core.management import call_command
from reversion.models import Version


@reversion.register()
class Subscription(SubscriptionFields):
    class Meta:
        app_label = "book"


class Reversion(DjangoPeer):
    subscription = Subscription

    def __init__(self) -> None:
        self.moves = {"save() of each, in one revision": self.one_by_one}
        self.most = {"save() of each, in one revision": 5_000}

    def begin_history(self) -> None:
        call_command("createinitialrevisions", "book.Subscription", verbosity=0)

    def one_by_one(self, price: Decimal) -> None:
        with reversion.create_revision():
            for row in self.followers(self.new_list_price(price)):
                row.save()

    def history(self) -> int:
        return Version.objects.count()

    def one_then(self, at: datetime, pk: int) -> Decimal:
        versions = Version.objects.get_for_object(Subscription(pk=pk))
        return versions.filter(revision__date_created__lte=at)[0].field_dict["price"]


serve(Reversion())
