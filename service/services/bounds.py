"""Bounds that PostgreSQL's types lack.

NaN is a numeric, greater than every number, and one would make every sum NaN; `infinity` is a
time, and no Python can read it.
"""

from datetime import UTC, datetime
from decimal import Decimal

HIGHEST_PRICE = Decimal("9999999999.99")
FIRST_DAY = datetime(1900, 1, 1, tzinfo=UTC)
LAST_DAY = datetime(9999, 12, 31, tzinfo=UTC)
