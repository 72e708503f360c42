"""The instants at which months begin, in the deployment's time zone."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone


def month_of(at: datetime) -> datetime:
    """The instant at which the month of `at` began."""
    return _begin(*_year_and_month(at))


def month_after(at: datetime, months: int = 1) -> datetime:
    """The instant at which a later month than that of `at` begins; with months=-1, one before."""
    year, month = _year_and_month(at)
    years, index = divmod(month - 1 + months, 12)
    return _begin(year + years, index + 1)


def last_months(now: datetime, months: int) -> list[datetime]:
    """The beginnings of the month of `now` and of those before it, the earliest first."""
    return [month_after(now, -back) for back in range(months - 1, -1, -1)]


def _year_and_month(at: datetime) -> tuple[int, int]:
    local = timezone.localtime(at)
    return local.year, local.month


def _begin(year: int, month: int) -> datetime:
    return datetime(year, month, 1, tzinfo=timezone.get_default_timezone())
