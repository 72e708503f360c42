"""Whole numbers that an address or a form gives, and differences in per cent."""

from decimal import Decimal

from services.parsing import MAX_BIGINT

LONGEST = 19  # digits of the largest that the database has


def whole_number(text: str) -> int | None:
    """The number of a text of digits, which the database can have; None for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST):
        return None
    number = int(text)
    return number if number <= MAX_BIGINT else None


def in_percent(before: Decimal, after: Decimal) -> Decimal | None:
    """The difference in per cent of what was; None from nothing."""
    return (after - before) * 100 / before if before else None
