"""The day by which the clients of a change have to be told, so many days before its instant."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils.translation import gettext as _

from price_changes.errors import ChangeError
from price_changes.models import PriceChange

MOST = 365


def parse_days(value: Any) -> int:
    """The number of days that a caller gave in `notice_days`; ChangeError if it is none."""
    said = str(value).strip()
    if isinstance(value, bool) or not (said.isascii() and said.isdigit()) or int(said[:9]) > MOST:
        raise ChangeError(
            "out_of_range",
            _("notice_days is a whole number from 0 to %(most)s; %(value)s is not.")
            % {"most": MOST, "value": repr(said[:40])},
            parameter="notice_days",
            value=said[:100],
        )
    return int(said)


def zone_of(effective_zone: str) -> ZoneInfo:
    """The time zone of the days of a change: that in which its instant was given, else the
    book's."""
    try:
        return ZoneInfo(effective_zone or settings.TIME_ZONE)
    except (ValueError, OSError, KeyError):  # a zone that today's rules don't have
        return ZoneInfo(settings.TIME_ZONE)


def day_of_notice(at: datetime | None, effective_zone: str, days: int, now: datetime) -> date:
    """The day by which all have to be told of a change of this instant (None: at once).

    ChangeError (`notice_too_short`), with the earliest instant that is possible, if that day has
    passed, or the instant has come.
    """
    zone = zone_of(effective_zone)
    today = now.astimezone(zone).date()
    if at is not None and at > now:
        by = at.astimezone(zone).date() - timedelta(days=days)
        if by >= today:
            return by
    earliest = datetime.combine(today + timedelta(days=max(days, 1)), time(), zone)
    if days:
        text = _(
            "Its clients are to be told %(days)s days before: give an instant from %(earliest)s"
            " on (effective_at)."
        )
    else:
        text = _("Its clients are to be told before it comes: give an instant to come.")
    # A midnight that clocks skip is the first instant after the gap.
    possible = earliest.astimezone(UTC).isoformat()
    raise ChangeError(
        "notice_too_short",
        text % {"days": days, "earliest": possible},
        409,
        parameter="effective_at",
        **({} if at is None else {"value": at.isoformat()}),
        notice_days=days,
        **({"earliest": possible} if days else {}),
    )


def of_change(change: PriceChange, now: datetime) -> date | None:
    """The day by which all clients of a change have to be told; None if it asks for no notice."""
    if change.notice_days is None:
        return None
    return day_of_notice(change.effective_at, change.effective_zone, change.notice_days, now)
