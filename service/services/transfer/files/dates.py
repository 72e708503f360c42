"""Dates and times as spreadsheets and other programs write them into texts."""

from __future__ import annotations

import re
from datetime import date

TIME = (
    r"(?:(?:[ \u00a0\u202f]+|, *|T)(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})"
    r"(?::(?P<second>[0-9]{2})(?:[.,]0{1,6})?)?"
    r"(?:[ \u00a0\u202f]?(?P<half>[AaPp])\.?[Mm]\.?)?)?"
)
YEAR_FIRST = re.compile(r"(?P<year>[0-9]{4})([./-])(?P<one>[0-9]{1,2})\2(?P<two>[0-9]{1,2})" + TIME)
YEAR_LAST = re.compile(
    r"(?P<one>[0-9]{1,2})(?P<sign>[./-])(?P<two>[0-9]{1,2})(?P=sign)(?P<year>[0-9]{4})" + TIME
)
TWO_DIGITS = re.compile(r"[0-9]{1,2}([./-])[0-9]{1,2}\1[0-9]{2}" + TIME)

# The ways of reading a date. A dotted one has the day first wherever people write it.
ISO, DOTTED, DAY_FIRST, MONTH_FIRST = "iso", "dotted", "day_first", "month_first"
EXAMPLES = {
    DOTTED: "31.12.2026, 31.12.2026 09:30",
    DAY_FIRST: "31/12/2026",
    MONTH_FIRST: "12/31/2026",
}


def readings(text: str) -> dict[str, str]:
    """The meanings that a text may have, by the way of reading it; times as `T09:30:00`.

    2026/3/4              iso
    04.03.2026 09:30      dotted
    31/12/2026            day_first
    03/04/2026 9:30 AM    day_first and month_first
    """
    if found := YEAR_FIRST.fullmatch(text):
        ways = {ISO: _instant(found, "one", "two")}
    elif found := YEAR_LAST.fullmatch(text):
        if found["sign"] == ".":
            ways = {DOTTED: _instant(found, "two", "one")}
        else:
            ways = {
                DAY_FIRST: _instant(found, "two", "one"),
                MONTH_FIRST: _instant(found, "one", "two"),
            }
    else:
        return {}
    return {way: instant for way, instant in ways.items() if instant is not None}


def is_no_day(text: str) -> bool:
    """Whether a text is written as a date is, and no calendar or clock has that day or time."""
    return bool(YEAR_FIRST.fullmatch(text) or YEAR_LAST.fullmatch(text)) and not readings(text)


def _instant(found: re.Match[str], month: str, day: str) -> str | None:
    try:
        on = date(int(found["year"]), int(found[month]), int(found[day])).isoformat()
    except ValueError:
        return None
    if found["hour"] is None:
        return on
    hour, minute, second = int(found["hour"]), int(found["minute"]), int(found["second"] or 0)
    if found["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if found["half"] in "Pp" else 0)
    if hour > 23 or minute > 59 or second > 59:
        return None
    return f"{on}T{hour:02}:{minute:02}:{second:02}"
