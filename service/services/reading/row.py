"""A row of the book: its columns, where each comes from, and its shape in the API."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple


class BookRow(NamedTuple):
    """A subscription with what the API shows of its client, service and plan."""

    id: int
    client_id: int
    service_id: int
    plan_id: int
    price: Decimal
    price_state: str
    locked_until: datetime | None
    price_reason: str
    comment: str
    source: str | None
    external_id: str | None
    started_at: datetime
    ended_at: datetime | None
    company_name: str
    email: str
    service_name: str
    full_price: Decimal
    plan_type: str
    discount_percent: int

    def for_api(self) -> dict[str, Any]:
        """The row as `SubscriptionSerializer` shows it; tests/test_serializers.py compares."""
        return {
            "id": self.id,
            "plan_id": self.plan_id,
            "client_name": self.company_name,
            "email": self.email,
            "plan": {
                "id": self.plan_id,
                "plan_type": self.plan_type,
                "discount_percent": self.discount_percent,
            },
            "price": self.price,
            "price_state": self.price_state,
            "locked_until": self.locked_until,
            "price_reason": self.price_reason,
            "service": {
                "id": self.service_id,
                "name": self.service_name,
                "full_price": self.full_price,
            },
            "client_id": self.client_id,
            "comment": self.comment,
            "source": self.source,
            "external_id": self.external_id,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
        }


# Where the columns come from that are not of the subscription.
JOINED = {
    "company_name": "client.company_name",
    "email": "login.email",
    "service_name": "service.name",
    "full_price": "service.full_price",
    "plan_type": "plan.plan_type",
    "discount_percent": "plan.discount_percent::smallint",  # the table has it as numeric
}
# Those of the subscription come first, so that a statement can read them before it joins the rest.
OF_SUBSCRIPTION = tuple(name for name in BookRow._fields if name not in JOINED)
