"""Coming moves of the paid total: scheduled changes, ends of locks, starts and ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from desk.ahead import of_sets
from price_changes.kinds.words import Names
from price_changes.models import PriceChange
from price_changes.planning import status_now
from price_changes.showing.instants import in_force_from
from price_changes.showing.sentences import sentence
from pricebook.kit.figures import grouped, instant
from services.ledger.course import course

DAYS = 180  # of ends and starts; scheduled changes are shown however far they are
SHOWN = 12

# The last instant of each day, in the deployment's time zone, and how many there are.
ENDS_OF_LOCKS = """
SELECT max(until) AS at, count(*)
  FROM (SELECT DISTINCT until, subscription_id FROM services_lockend
         WHERE until > %(now)s AND until <= %(until)s) ending
  JOIN services_subscription ON id = subscription_id
 WHERE price_state = 'locked' AND locked_until = until
   AND started_at <= until AND (ended_at IS NULL OR ended_at > until)
 GROUP BY (until AT TIME ZONE %(zone)s)::date ORDER BY at LIMIT %(limit)s
"""
STARTS_AND_ENDS = """
SELECT max(at) AS at, sum(greatest(subscriptions, 0))::bigint,
       sum(greatest(-subscriptions, 0))::bigint
  FROM services_paidboundary WHERE at > %(now)s AND at <= %(until)s
 GROUP BY (at AT TIME ZONE %(zone)s)::date
HAVING bool_or(subscriptions <> 0) ORDER BY at LIMIT %(limit)s
"""


@dataclass
class Event:
    """Something to come: its instant, in words, and the total paid after it.

    `change`: the price change that it is, with `held` if something holds it. `by_preview`: whether
    the total counts on previews of sets, whose rows are known when they begin; `rough`: whether
    these don't say what is paid then.
    """

    at: datetime
    when: str
    says: str
    change: PriceChange | None = None
    held: bool = False
    total: Decimal | None = None
    by_preview: bool = False
    rough: bool = False


def timeline(now: datetime, shows_changes: bool, names_clients: bool) -> list[Event]:
    """The next events, the earliest first. Five queries, and up to three for names.

    The total after each is that as of its instant, with the previewed differences of the sets that
    come by then; None where it can't be had at once.
    """
    events = [*_ends_of_locks(now), *_starts_and_ends(now)]
    if shows_changes:
        events += _scheduled(now, names_clients)
    events = sorted(events, key=lambda event: event.at)[:SHOWN]
    if not events:
        return []
    changes = [
        (event.at, event.change) for event in events if event.change is not None and not event.held
    ]
    for event, totals in zip(events, course([each.at for each in events], "plan"), strict=True):
        if totals is not None:
            sets = of_sets([change for at, change in changes if at <= event.at], event.at)
            event.total = sum((each.amount for each in totals.values()), sets.difference)
            event.by_preview, event.rough = sets.counted, sets.rough
    return events


def _ends_of_locks(now: datetime) -> list[Event]:
    return [
        Event(
            at,
            instant(at),
            ngettext("%(count)s lock ends", "%(count)s locks end", count)
            % {"count": grouped(count)},
        )
        for at, count in _fetch(ENDS_OF_LOCKS, now)
    ]


def _starts_and_ends(now: datetime) -> list[Event]:
    events = []
    for at, starts, ends in _fetch(STARTS_AND_ENDS, now):
        said = []
        if starts:
            said.append(
                ngettext("%(count)s subscription begins", "%(count)s subscriptions begin", starts)
                % {"count": grouped(starts)}
            )
        if ends:
            said.append(
                ngettext("%(count)s subscription ends", "%(count)s subscriptions end", ends)
                % {"count": grouped(ends)}
            )
        events.append(Event(at, instant(at), ", ".join(said)))
    return events


def _scheduled(now: datetime, names_clients: bool) -> list[Event]:
    scheduled = PriceChange.objects.filter(
        status=PriceChange.Status.SCHEDULED, effective_at__gt=now
    ).order_by("effective_at", "approval")
    changes = list(scheduled[:SHOWN])
    status_now.refresh(changes)
    names = Names.of_changes(changes, names_clients)
    events = []
    for change in changes:
        assert change.effective_at is not None
        says = change.title or sentence(change, names)
        if change.will_be_held:
            says = _("%(change)s (will be held)") % {"change": says}
        events.append(
            Event(change.effective_at, in_force_from(change), says, change, change.will_be_held)
        )
    return events


def _fetch(sql: str, now: datetime) -> list[Any]:
    params = {
        "now": now,
        "until": now + timedelta(days=DAYS),
        "zone": settings.TIME_ZONE,
        "limit": SHOWN,
    }
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())
