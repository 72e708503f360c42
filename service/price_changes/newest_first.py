"""Pages of price changes, the newest first, which lead both ways."""

from __future__ import annotations

from django.db.models import QuerySet

from price_changes.models import PriceChange
from services.reading.ordering import Cursor


def newest_first(
    changes: QuerySet[PriceChange], cursor: Cursor | None, size: int
) -> tuple[list[PriceChange], Cursor | None, Cursor | None]:
    """A page, with the cursors of the next one (older) and the previous one (newer). One query."""
    backward = cursor is not None and cursor.backward
    if cursor is not None:
        place = {"pk__gt" if backward else "pk__lt": cursor.id}
        changes = changes.filter(**place)
    changes = changes.select_related("reverts")  # which decides about what is allowed
    found = list(changes.order_by("pk" if backward else "-pk")[: size + 1])
    more, page = len(found) > size, found[:size]
    if backward:
        page.reverse()
    if not page:
        return [], None, None
    older = Cursor(page[-1].pk) if more or backward else None
    newer = Cursor(page[0].pk, backward=True) if (more if backward else cursor) else None
    return page, older, newer
