"""The subject of a catalogue value: a service has its list price, a plan its discount."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from django.db import connection

from services.models import Plan, Service


@dataclass(frozen=True)
class CatalogueSubject:
    """A service or a plan, by its id; it may be deleted by now."""

    role: Literal["service", "plan"]
    id: int

    @property
    def model(self) -> type[Service] | type[Plan]:
        return Service if self.role == "service" else Plan

    @property
    def field(self) -> Literal["full_price", "discount_percent"]:
        """The field with a copy of the value."""
        return "full_price" if self.role == "service" else "discount_percent"

    @property
    def value_at(self) -> Literal["list_price_at", "discount_at"]:
        """The SQL function of (id, instant) that has the value in force."""
        return "list_price_at" if self.role == "service" else "discount_at"

    @property
    def column(self) -> Literal["service_id", "plan_id"]:
        """The column that has the id in a table of both: the other one is NULL there."""
        return "service_id" if self.role == "service" else "plan_id"

    def lock(self) -> None:
        """Wait until nobody writes prices by it, and let nobody until the commit. One query."""
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT lock_{self.role}(%s, true)", [self.id])

    def make_room(self, value: Decimal) -> None:
        """Move the late copy of another plan out of the way of its own copy, if there is one.

        One query for a plan, none for a service.
        """
        if self.role == "plan":
            with connection.cursor() as cursor:
                cursor.execute("SELECT make_room(%s, %s::integer)", [self.id, value])
