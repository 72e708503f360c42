"""The figures of a price change as its pages show them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db import models
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from price_changes import verbs
from price_changes.kinds import is_of_catalogue, kind_of
from price_changes.models import PriceChange
from price_changes.planning import status_now
from price_changes.planning.catalogue_value import value_since
from price_changes.showing.rows import held_by, holds, named_reasons
from pricebook.kit.figures import grouped
from services.models import Skip, book_clock
from services.models.catalogue import stored_name_shown

Status = PriceChange.Status


def at_todays_value(change: PriceChange) -> Decimal | None:
    """The old value of a preview, if the catalogue has another one now, or will by the instant.

    That other value becomes the change's `old_value`, to be shown. One query for a change of the
    catalogue that has not begun; none if `status_now.refresh` has set what it finds.
    """
    now = change.finds if change.finds is not None else value_since(change)
    if now in (None, change.old_value):
        return None
    previewed, change.old_value = change.old_value, now
    return previewed


def moves_soon(change: PriceChange) -> bool:
    """Whether its page should refresh itself: it is being applied, or begins within a minute."""
    if change.status != Status.SCHEDULED or change.effective_at is None:
        return change.status == Status.APPLYING
    return change.effective_at < book_clock() + timedelta(minutes=1)


def in_force(change: PriceChange) -> str:
    """Whether a cancel takes something back: "copied" for a value in force, "moved" for moved rows,
    else empty.

    A list price or a discount is in force from its instant on, whatever is copied, also one for new
    subscriptions only; a set only for the rows that have moved.
    """
    if is_of_catalogue(change):
        at = change.effective_at
        due = change.status == Status.SCHEDULED and at is not None and at <= book_clock()
        return "copied" if due or change.status in (Status.APPLYING, Status.PAUSED) else ""
    return "moved" if change.status in (Status.APPLYING, Status.PAUSED) else ""


class Preview:
    """A stored preview as its page shows it, with its amounts as decimals, and with the changes
    that are scheduled before and after it now (two queries)."""

    def __init__(self, change: PriceChange, names_clients: bool) -> None:
        stored = change.preview
        assert stored is not None
        self.rows, self.moves = stored["rows"], stored["moves"]
        self.is_judged_ahead = kind_of(change).is_judged_ahead
        self.stop_following = stored["stop_following"]
        self.as_of = parse_datetime(stored["as_of"])
        self.before, self.after = Decimal(stored["total_before"]), Decimal(stored["total_after"])
        self.stays = [(reason_label(reason), rows) for reason, rows in stored["stays"].items()]
        self.pairs = [
            with_difference({**pair, "plan_name": stored_name_shown(pair["plan_name"])})
            for pair in stored["by_service_and_plan"]
            if pair["moves"]
        ]
        movers = stored["largest_movers"] if names_clients else []
        self.clients = [with_difference(client) for client in movers]
        around = status_now.around(change)
        self.scheduled_before = around["scheduled_before"]
        self.scheduled_after = around["scheduled_after"]
        most = max((bucket["rows"] for bucket in stored["distribution"]), default=1)
        self.distribution = [
            {
                "label": bucket_label(bucket["from"], bucket["to"]),
                "rows": bucket["rows"],
                "width": max(1, round(100 * bucket["rows"] / most)),
                "falls": (bucket["to"] or 1) <= 0,
            }
            for bucket in stored["distribution"]
        ]

    @property
    def difference(self) -> Decimal:
        return self.after - self.before


def with_difference(group: dict[str, Any]) -> dict[str, Any]:
    before, after = Decimal(group["before"]), Decimal(group["after"])
    return {**group, "before": before, "after": after, "difference": after - before}


def reason_label(reason: str) -> str:
    return str(Skip.Reason(reason).label).lower()


def bucket_label(low: int | None, high: int | None) -> str:
    said = {
        "low": "" if low is None else grouped(low),
        "high": "" if high is None else grouped(high),
    }
    if low is None:
        return _("below %(high)s") % said
    return (_("%(low)s and more") if high is None else _("%(low)s to %(high)s")) % said


class Outcome:
    """The outcome of a change that has begun. Up to seven queries, over counters."""

    def __init__(self, change: PriceChange) -> None:
        counted = verbs.outcome(change)
        listed = named_reasons(change) if counted["skipped"] else set()
        self.taken_back_by: int | None = counted["taken_back_by"]
        self.not_moved: int = counted["skipped"].get(Skip.Reason.CANCELLED, 0)
        self.rows, self.applied = counted["rows"], counted["applied"]
        self.failed, self.stamped = counted["failed"], counted["stamped"]
        self.skipped = [
            {
                "reason": reason,
                "label": reason_label(reason),
                "rows": rows,
                "listed": reason in listed,
            }
            for reason, rows in sorted(counted["skipped"].items())
        ]
        self.held_by, self.holds = held_by(change), holds(change)


def named_changes(change: PriceChange, preview: Preview | None, outcome: Outcome | None) -> Any:
    """The changes that this one's page names. One query."""
    ids = {change.reverts_id}
    if preview:
        ids |= {*preview.scheduled_before, *preview.scheduled_after}
    if outcome:
        ids |= {*outcome.held_by, *outcome.holds}
    named = models.Q(pk__in=ids - {None}) | models.Q(reverts=change.pk)
    return {each.pk: each for each in PriceChange.objects.filter(named)}
