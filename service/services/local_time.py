"""The instant that a local time without an offset means."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from services import parsing
from services.parsing import BadValue

WITHOUT_OFFSET = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?)?"
)


class NoSuchInstant(ValueError):
    """Clocks never show a local time, or show it twice; the text says which, after its name."""


def to_instant(local: datetime, zone: ZoneInfo) -> datetime:
    """The one instant at which clocks of `zone` show `local`, in UTC.

    NoSuchInstant if there is none, because clocks were put forward over it, or two, because they
    were put back: money depends on it, and nobody can know which one was meant.
    """
    found = possible_instants(local, zone)
    if not found:
        raise NoSuchInstant(
            f"is a time that clocks in {zone} skipped, as they were put forward: give another one,"
            " or an offset"
        )
    if len(found) > 1:
        one, other = (at.astimezone(zone).isoformat(timespec="minutes") for at in found)
        raise NoSuchInstant(f"was there twice in {zone}: give {one} or {other}")
    return found[0]


def possible_instants(local: datetime, zone: ZoneInfo) -> list[datetime]:
    """The instants at which clocks of `zone` show `local`, in UTC: one; or none, or two."""
    either = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return sorted({at for at in either if at.astimezone(zone).replace(tzinfo=None) == local})


def zone_named(name: Any) -> ZoneInfo:
    """The time zone of an IANA name that a caller gave in `time_zone`; BadValue if it is none."""
    if not isinstance(name, str) or name not in _names():
        raise BadValue(
            "unknown_time_zone",
            f"time_zone is the name of a time zone, as Europe/Berlin; {str(name)[:100]!r} is none.",
            "time_zone",
            name,
        )
    return ZoneInfo(name)


def instant_in(name: str, value: Any, zone: ZoneInfo) -> datetime:
    """The instant that a caller gave as a local time of a zone.

    Or with an offset, which has to be the one that clocks show there. BadValue for anything else,
    and for a local time that clocks skip or show twice.
    """
    if isinstance(value, str) and WITHOUT_OFFSET.fullmatch(value):
        return parsing.instant(name, _instant(name, value, zone))
    at = parsing.instant(name, value)
    if at.utcoffset() != at.astimezone(zone).utcoffset():
        raise BadValue(
            "offset_differs",
            f"{name} is {at.isoformat()}, and clocks in {zone} show"
            f" {at.astimezone(zone).isoformat()} then: leave the offset out, or time_zone.",
            name,
            at.isoformat(),
        )
    return at


def _instant(name: str, value: str, zone: ZoneInfo) -> datetime:
    try:
        return to_instant(datetime.fromisoformat(value.upper()), zone)
    except NoSuchInstant as error:
        why = str(error)
    except (ValueError, OverflowError):
        why = "is no time"
    raise BadValue("not_an_instant", f"{name} {why}.", name, value)


@cache
def _names() -> set[str]:
    return available_timezones()
