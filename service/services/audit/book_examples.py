"""Values from the book, used as parameters of the statements that are shown."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Max, Min

from clients.models import Client
from services.bounds import FIRST_DAY
from services.models import Subscription


@dataclass(frozen=True)
class Examples:
    """Values of a subscription from the middle of the book; placeholders if the book is empty."""

    middle: Subscription
    last_id: int
    comment: str
    source: str
    external_id: str
    client_name: str
    email: str

    @property
    def pair(self) -> tuple[int, int]:
        return self.middle.service_id, self.middle.plan_id


def examples() -> Examples:
    """Read the examples. Five queries."""
    subscriptions = Subscription.objects.order_by("id")
    ends = subscriptions.aggregate(first=Min("id", default=0), last=Max("id", default=0))
    later_half = subscriptions.filter(id__gte=(ends["first"] + ends["last"]) // 2)
    nothing = Subscription(
        pk=1, client_id=1, service_id=1, plan_id=1, comment="nothing", started_at=FIRST_DAY
    )
    middle = later_half.first() or nothing
    with_key = later_half.exclude(source=None).first() or nothing
    client = Client.objects.select_related("user").filter(pk=middle.client_id).first()
    return Examples(
        middle=middle,
        last_id=ends["last"],
        comment=(later_half.exclude(comment="").first() or nothing).comment,
        source=with_key.source or "none",
        external_id=with_key.external_id or "none",
        client_name=client.company_name if client else "",
        email=client.user.email if client else "nobody",
    )
