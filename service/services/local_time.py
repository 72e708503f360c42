"""The instant that a local time without an offset means."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo


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
