"""The instant from which a change is in force, in words: as it was given, and in UTC."""

from __future__ import annotations

from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from price_changes.models import PriceChange
from price_changes.planning.local_instant import as_utc, other_instant
from pricebook.kit.figures import instant
from pricebook.kit.zone_rules import VERSION


def in_force_from(change: PriceChange) -> str:
    """An instant that was given as local time as "2027-01-15 00:00 America/Vancouver (08:00Z)";
    others in TIME_ZONE. With the notice that the change asks for.
    """
    if change.effective_at is None or change.notice_days is None:
        return _instant_as_given(change)
    return _("%(instant)s, %(notice)s") % {
        "instant": _instant_as_given(change),
        "notice": notice_of(change),
    }


def notice_of(change: PriceChange) -> str:
    """The notice that a change asks for, as "all its clients told 30 days before"; else empty."""
    if not change.notice_days:
        return "" if change.notice_days is None else _("all its clients told before")
    return ngettext(
        "all its clients told %(days)s day before",
        "all its clients told %(days)s days before",
        change.notice_days,
    ) % {"days": change.notice_days}


def _instant_as_given(change: PriceChange) -> str:
    at, zone = change.effective_at, change.effective_zone
    if at is None or zone in ("", "UTC"):
        return instant(at)
    local = datetime.fromisoformat(change.effective_local)
    day, utc = f"{local:%Y-%m-%d}", as_utc(at)
    return f"{_wall(local)} {zone} ({utc.removeprefix(f'{day} ')})"


def zone_rules_differ(change: PriceChange) -> str:
    """A sentence on what to do if the rules of its time zone have changed since; else empty."""
    other = other_instant(change)
    if other is None:
        return ""
    assert change.effective_at is not None
    local = _wall(datetime.fromisoformat(change.effective_local))
    is_now = (
        _("does not exist any more, or exists twice")
        if other.at is None
        else _("is %(as_utc)s") % {"as_utc": as_utc(other.at)}
    )
    return _(
        "By today's rules of time zones (tzdata %(version)s) %(local)s in"
        " %(effective_zone)s %(is_now)s, and the change comes at %(as_utc)s: cancel it"
        " and plan it again, or keep its instant."
    ) % {
        "version": VERSION,
        "local": local,
        "effective_zone": change.effective_zone,
        "is_now": is_now,
        "as_utc": as_utc(change.effective_at),
    }


def kept_instant(change: PriceChange) -> str:
    """A sentence on who decided that its instant stays, whatever the rules say; else empty."""
    if not change.instant_kept_by:
        return ""
    return _("Its instant is kept by %(instant_kept_by)s, whatever the rules of its zone say.") % {
        "instant_kept_by": change.instant_kept_by
    }


def _wall(local: datetime) -> str:
    return local.isoformat(" ", "seconds" if local.second or local.microsecond else "minutes")
