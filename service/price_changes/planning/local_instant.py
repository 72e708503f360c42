"""An instant that a person gave as local time, and what later rules of its time zone make of it.

The local time and its zone, as they were given, are stored beside the instant. Countries change
their rules at a few weeks' notice; then the instant no longer agrees with the local time, and
people are told before it comes. No change is ever moved by that.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from price_changes.kinds.values import in_future, refusing
from price_changes.models import PriceChange
from services.local_time import instant_in, possible_instants, zone_named
from services.models import book_clock

Status = PriceChange.Status


def said_instant(name: str, value: Any, zone: Any = None) -> dict[str, Any]:
    """The fields that say from when a change is in force, made from values that a caller gave.

    Without a `zone` (an IANA name) the value is an instant with an offset. With one it is a local
    time there, or an instant with the offset that clocks show there. ChangeError if it can't be
    read or has passed. One query.
    """
    if zone is None:
        at = in_future(name, value)
        return {"effective_at": at, "effective_local": "", "effective_zone": ""}
    there = refusing(zone_named)(zone)
    at = in_future(name, refusing(instant_in)(name, value, there))
    local = at.astimezone(there).replace(tzinfo=None)
    return {
        "effective_at": at,
        "effective_local": local.isoformat(),
        "effective_zone": str(there),
    }


@dataclass(frozen=True)
class OtherInstant:
    """Today's instant of a local time, which is not the instant that was planned for it."""

    at: datetime | None  # None: clocks there skip that local time now, or show it twice


def other_instant(change: PriceChange) -> OtherInstant | None:
    """The other instant that today's rules of time zones give for a change that is not due yet.

    None if they agree, if nobody gave a local time, or if somebody has decided to keep the instant.
    No query if the rules agree, else one.
    """
    if not change.effective_zone or change.instant_kept_by or change.effective_at is None:
        return None
    if change.status not in (Status.PLANNED, Status.SCHEDULED, Status.HELD):
        return None
    local = datetime.fromisoformat(change.effective_local)
    try:
        now = possible_instants(local, ZoneInfo(change.effective_zone))
    except (ValueError, OSError, KeyError):  # a zone that today's rules don't have
        now = []
    if change.effective_at in now or change.effective_at <= book_clock():
        return None
    return OtherInstant(now[0] if len(now) == 1 else None)


def as_utc(at: datetime) -> str:
    """An instant as "2027-01-15 08:00Z", with seconds only if it has some."""
    at = at.astimezone(UTC)
    seconds = "" if not (at.second or at.microsecond) else f"{at:%S.%f}".rstrip("0").rstrip(".")
    return f"{at:%Y-%m-%d %H:%M}{f':{seconds}' if seconds else ''}Z"
