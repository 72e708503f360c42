"""A whole number that an address or a form gives."""

from services.parsing import MAX_BIGINT

LONGEST = 19  # digits of the largest that the database has


def whole_number(text: str) -> int | None:
    """The number of a text of digits, which the database can have; None for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST):
        return None
    number = int(text)
    return number if number <= MAX_BIGINT else None
