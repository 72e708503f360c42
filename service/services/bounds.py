"""Bounds that PostgreSQL's types lack.

NaN is a valid numeric, greater than every number, and a single one would make every sum NaN;
`infinity` is a valid timestamp that Python can't read.
"""

from datetime import UTC, datetime
from decimal import Decimal

HIGHEST_PRICE = Decimal("9999999999.99")
FIRST_DAY = datetime(1900, 1, 1, tzinfo=UTC)
LAST_DAY = datetime(9999, 12, 31, tzinfo=UTC)
