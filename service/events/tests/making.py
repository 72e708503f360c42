"""Events and endpoints for tests, made past the deriver and the verbs."""

import ipaddress
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from events.given import new_secret
from events.models import Derived, Endpoint, Event
from events.types import TYPES

DAY = datetime(2027, 1, 1, tzinfo=UTC)
# Receivers of tests listen here, over plain http.
LOOPBACK = [ipaddress.ip_network("127.0.0.0/8")]
URL = "http://127.0.0.1:9/in"


def some_events(first: int, last: int) -> list[Event]:
    """Events of these numbers, one a day, of all types in turn; those before are forgotten."""
    types = list(TYPES)
    made = [
        Event(
            number=number,
            webhook_id=f"evt_{number:032}",
            type=types[number % len(types)],
            occurred_at=DAY + timedelta(number),
            recorded_at=DAY + timedelta(number),
            data=json.dumps({"id": number, "amount": "90071992547409.93"}),
            xact=1000 + number,
            entry_id=number,
        )
        for number in range(first, last + 1)
    ]
    Event.objects.bulk_create(made)
    Derived.objects.update_or_create(id=1, defaults={"number": last})
    return made


def an_endpoint(name: str = "biller", **columns: Any) -> Endpoint:
    columns = {"url": URL, "secret": new_secret()} | columns
    return Endpoint.objects.create(name=name, **columns)
