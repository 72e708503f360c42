"""A follower of the ledger's feed, and entries for it."""

from typing import Any

from django.db import connection

from services.models import LedgerEntry, Life, Subscription
from services.tests.factories import a_reader

Page = dict[str, Any]
LIMIT = 1000  # entries of a page
NEGOTIATE = "UPDATE services_subscription SET price = price + 1, price_state = 'negotiated'"


def entries(count: int = 1) -> list[int]:
    """Write so many entries, each in a transaction of its own; their ids."""
    before = set(LedgerEntry.objects.values_list("id", flat=True))
    row = Subscription.objects.order_by("pk")[0]
    for _ in range(count):
        row.price += 1
        Subscription.objects.filter(pk=row.pk).update(price=row.price, price_state="negotiated")
    return sorted(set(LedgerEntry.objects.values_list("id", flat=True)) - before)


def poll(after: str | None = None) -> Page:
    """The page that a follower gets, or the problem."""
    asked = {"limit": str(LIMIT)} | ({"after": after} if after else {})
    answer = a_reader().get("/api/ledger/", asked)
    assert answer.status_code in (200, 410), answer.json()
    return dict(answer.json())


def ids(page: Page) -> list[int]:
    return [entry["id"] for entry in page["result"]]


def is_told_where_it_ended(after: str, common: str | None) -> None:
    found = poll(after)
    assert (found.get("code"), found.get("common_until")) == ("place_of_another_life", common)


def another_server() -> None:
    """The database is another one, as after a restore."""
    Life.objects.update(system_identifier=1)


def another_timeline() -> None:
    Life.objects.update(timeline=0)


def newest_xact() -> int:
    return LedgerEntry.objects.order_by("-xact").values_list("xact", flat=True)[0]


def burn(count: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"DO $$ BEGIN FOR i IN 1..{count} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP;"
            " END $$"
        )
