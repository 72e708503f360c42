"""Tables for people: text to the left, numbers to the right, columns as wide as they need."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.utils import timezone
from django.utils.translation import get_language

from pricebook.kit import figures
from pricebook.kit.currency import shown
from services.models import Subscription

WIDEST = 40


def table(align: str, rows: Iterable[Sequence[str]], indent: int = 2) -> Iterator[str]:
    """The lines of a table, one for each row. `align` has a `<` or a `>` for each column.

    A cell is cut after WIDEST characters, except in the last column.
    """
    cells = [[*map(_cut, row[:-1]), row[-1]] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = [
            f"{cell:{side}{width}}" for cell, side, width in zip(row, align, widths, strict=True)
        ]
        yield (" " * indent + "  ".join(padded)).rstrip()


def shown_amount(amount: Decimal | str | None) -> str:
    if amount is None:
        return ""
    # (English has its own sign of a negative amount here.)
    return shown(Decimal(amount)) if is_english() else figures.amount(Decimal(amount))


def shown_instant(instant: datetime | None) -> str:
    """An instant in the deployment's time zone, with its offset."""
    if instant is None:
        return ""
    return timezone.localtime(instant).isoformat(" ", "seconds").replace("+00:00", "Z")


def is_english() -> bool:
    return (get_language() or settings.LANGUAGE_CODE).startswith("en")


def words_of(price_state: str | None) -> str:
    """A price state, in a word."""
    return str(Subscription.PriceState(price_state).label).lower() if price_state else ""


def _cut(cell: str) -> str:
    return cell if len(cell) <= WIDEST else f"{cell[: WIDEST - 1]}…"
