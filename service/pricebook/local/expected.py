"""The figures that the demo must show, computed from the file alone."""

import csv
import gzip
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal

from pricebook.local.paths import SERVICE

BOOK = SERVICE / "services" / "data" / "telco_book.csv.gz"
TOTAL = Decimal("456360.00")  # stated in the NOTICE beside the book


def read_book() -> Iterator[dict[str, str]]:
    with gzip.open(BOOK, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def total(book: list[dict[str, str]]) -> Decimal:
    """The total, computed from the rule's words, not by the code that it is to check."""
    return sum(
        (
            (Decimal(row["full_price"]) * (100 - int(row["discount_percent"])) / 100).quantize(
                Decimal("0.01"), ROUND_HALF_UP
            )
            for row in book
        ),
        Decimal("0.00"),
    )


def set_price_of(book: list[dict[str, str]], service: str, price: Decimal) -> int:
    rows = [row for row in book if row["service"] == service]
    for row in rows:
        row["full_price"] = str(price)
    return len(rows)


def set_discount_of(book: list[dict[str, str]], plan_type: str, percent: int) -> int:
    rows = [row for row in book if row["plan_type"] == plan_type]
    for row in rows:
        row["discount_percent"] = str(percent)
    return len(rows)
