"""Values as cells: numbers and dates where these are exact, otherwise text.

A number of Excel has 15 digits, and a date is a number of days, which programs show and read to the
second; what does not fit would be rounded by whoever opens the sheet.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from zoneinfo import ZoneInfo

from django.conf import settings

from pricebook.kit.currency import plain
from services.local_time import possible_instants
from services.transfer.sheets.table import Type, Value

# As it is to be written. A date is a local time without an offset, in TIME_ZONE, as files have it.
Cell = str | int | Decimal | datetime | bool | None
DIGITS = 15
# Excel counts a 29 February 1900 that never was: its dates are right from the next day on.
FIRST_DATE = datetime(1900, 3, 1)


def iso(value: datetime) -> str:
    """The instant in UTC, as JSON has it."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


class Cells:
    """Cells of values by the type of their column.

    `as_text` counts those that are text because nothing else is exact.
    """

    def __init__(self) -> None:
        self.as_text = 0
        self.zone = ZoneInfo(settings.TIME_ZONE)
        self._date = lru_cache(maxsize=8192)(self._date_or_text)
        self._of: dict[Type, Callable[..., Cell]] = {
            Type.TEXT: self._text,
            Type.INTEGER: self._integer,
            Type.AMOUNT: self._amount,
            Type.INSTANT: self._instant,
            Type.DAY: self._day,
            Type.RECORDED: self._recorded,
            Type.FLAG: bool,
        }

    def of(self, type: Type) -> Callable[[Value], Cell]:
        """The cells of a column; None stays None, an empty cell."""
        convert = self._of[type]
        return lambda value: None if value is None else convert(value)

    @staticmethod
    def _text(value: str | int) -> Cell:
        if isinstance(value, Decimal | datetime | bool):
            raise TypeError(f"{value!r} is in a column of texts: the column needs a type")
        return str(value) or None

    def _integer(self, value: int | Decimal) -> Cell:
        return self._number(Decimal(value))

    def _amount(self, value: Decimal) -> Cell:
        return self._number(plain(value))

    def _number(self, value: Decimal) -> Cell:
        if abs(value) < 10**13 and value.as_tuple().exponent in (0, -1, -2):
            return value
        if len(value.normalize().as_tuple().digits) <= DIGITS:
            return value
        self.as_text += 1
        return f"{value:f}"

    def _instant(self, value: datetime) -> Cell:
        cell = self._date(value)
        if isinstance(cell, str):
            self.as_text += 1
        return cell

    def _date_or_text(self, value: datetime) -> Cell:
        local = value.astimezone(self.zone).replace(tzinfo=None)
        exact = local >= FIRST_DATE and not local.microsecond
        # A time that clocks showed twice would not say which of them.
        if exact and possible_instants(local, self.zone) == [value]:
            return local
        return iso(value)

    @staticmethod
    def _day(value: date) -> Cell:
        midnight = datetime.combine(value, time())
        return midnight if midnight >= FIRST_DATE else value.isoformat()

    @staticmethod
    def _recorded(value: datetime) -> Cell:
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
