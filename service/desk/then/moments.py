"""The instants that people give in an address, and the months of the book."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from django.conf import settings
from django.http import QueryDict
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from pricebook.kit import figures
from services.local_time import instant_in
from services.parsing import BadValue

DAY_FIRST = re.compile(r"([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4})(.*)")
MONTHS = 12


class BadMoment(ValueError):
    """A value that is no instant; the text names it, for people."""


def moment(query: QueryDict, name: str) -> datetime | None:
    """The instant that an address gives as a date (its midnight), a local time, or with an offset.

    None if it is not given, or empty.
    """
    text = query.get(name, "").strip()
    if not text:
        return None
    given = text
    if text == query.get(f"{name}-shown", "").strip():  # as the page wrote it: to the microsecond
        given = query.get(f"{name}-exact", "").strip()
    if found := DAY_FIRST.fullmatch(text):
        day, month, year, rest = found.groups()
        given = f"{year}-{month:0>2}-{day:0>2}{rest}"
    try:
        return instant_in(name, given, zone())
    except BadValue as error:
        said = _(
            "“%(value)s” is no instant of the years from 1900 to 9999 that clocks in %(zone)s have"
            " shown once. Give a date as 2026-10-31 or 31.10.2026, with a time if you like, as"
            " 2026-10-31 12:00."
        )
        raise BadMoment(said % {"value": text[:100], "zone": zone()}) from error


def zone() -> ZoneInfo:
    return ZoneInfo(settings.TIME_ZONE)


@dataclass(frozen=True)
class Month:
    """A month of the calendar: from its first midnight to that of the next."""

    year: int
    month: int

    @classmethod
    def of(cls, at: datetime) -> Month:
        local = timezone.localtime(at)
        return cls(local.year, local.month)

    @classmethod
    def parse(cls, text: str) -> Month:
        """The month of a text such as 2026-10; raises BadMoment."""
        found = re.fullmatch(r"([0-9]{4})-([0-9]{2})", text.strip())
        if not found or not 1900 <= int(found[1]) < 9999 or not 1 <= int(found[2]) <= 12:
            said = _("“%(value)s” is no month: give one of the years from 1900 on, as 2026-10.")
            raise BadMoment(said % {"value": text[:100]})
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"

    @property
    def next(self) -> Month:
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    @property
    def previous(self) -> Month:
        return Month(self.year - (self.month == 1), (self.month - 2) % 12 + 1)

    @property
    def since(self) -> datetime:
        return datetime(self.year, self.month, 1, tzinfo=zone())

    @property
    def until(self) -> datetime:
        return self.next.since

    @property
    def day(self) -> str:
        """Its first day, as addresses have it."""
        return f"{self}-01"

    @property
    def name(self) -> str:
        """October 2026"""
        return date_format(self.since, "F Y")


def last_months(now: datetime) -> list[Month]:
    """The months that are over, of the last year; the newest first."""
    found = [Month.of(now)]
    for _each in range(MONTHS):
        found.append(found[-1].previous)
    return found[1:]


def month_of(since: datetime, until: datetime) -> Month | None:
    """The month that begins and ends with these instants, if one does."""
    month = Month.of(since)
    return month if (month.since, month.until) == (since, until) else None


def in_address(at: datetime) -> str:
    """An instant as an address has it: a date if it is a midnight, else with its offset."""
    local = at.astimezone(zone())
    if local.time() == datetime.min.time():
        return local.date().isoformat()
    return local.isoformat()


def in_field(at: datetime) -> str:
    """An instant as a field has it, which `moment` reads: a date, with the time if it is no
    midnight, and with its seconds if it has any; never finer than people read.
    """
    local = at.astimezone(zone())
    time = f"{local: %H:%M:%S}" if local.second else f"{local: %H:%M}"
    return figures.day(local.date()) + ("" if time == " 00:00" else time)


def hidden_fields(name: str, at: datetime) -> list[tuple[str, str]]:
    """The values that a form sends beside a field whose instant is finer than it shows."""
    if not at.microsecond:
        return []
    return [(f"{name}-shown", in_field(at)), (f"{name}-exact", in_address(at))]
