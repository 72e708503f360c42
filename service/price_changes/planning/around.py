"""The scheduled changes around a change: before it, and those that will overrule it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from price_changes.kinds import OF_ROWS, is_of_catalogue, subject_of
from price_changes.models import PriceChange
from price_changes.planning.noticed import is_stopped
from services.models import BookNow

NAMES = ("service", "plan", "client", "subscription")
# The result of `named` by SQL, for the row `change`.
NAMED = f"""(
    jsonb_strip_nulls(jsonb_build_object('service', change.service_id, 'plan', change.plan_id))
    || (SELECT coalesce(jsonb_object_agg(key, value), '{{}}') FROM jsonb_each(change.filter)
         WHERE key IN ({", ".join(f"'{name}'" for name in NAMES)})))"""  # noqa: S608 - constants


def counted_at(change: PriceChange) -> datetime | None:
    """The instant as of which a change is counted; None for now, as for a held one, whose instant
    has passed.
    """
    return None if change.status == PriceChange.Status.HELD else change.effective_at


def scheduled_before(change: PriceChange, at: datetime | None) -> list[int]:
    """The scheduled changes that may move its rows before it, if it came at `at` (None: now). One
    query.

    By what is known now: none that the brake or its notice holds.
    """
    others = PriceChange.objects.filter(
        ~is_stopped(), status=PriceChange.Status.SCHEDULED, effective_at__lte=at or BookNow()
    )
    return _sharing_rows(change, others)


def sets_of_its_instant(change: PriceChange, at: datetime) -> list[int]:
    """The approved sets and reverts of sets that have just its instant, and may move its rows.

    One query.
    """
    approved = PriceChange.objects.filter(effective_at=at, approval__isnull=False)
    others = approved.exclude(status=PriceChange.Status.CANCELLED)
    return _sharing_rows(change, others.filter(kind__in=OF_ROWS))


def _sharing_rows(change: PriceChange, others: QuerySet[PriceChange]) -> list[int]:
    of_them = others.exclude(pk=change.pk).order_by("effective_at", "approval")
    return [
        other.pk
        for other in of_them.only("service", "plan", "filter")
        if may_share_rows(change, other)
    ]


def may_share_rows(change: PriceChange, other: PriceChange) -> bool:
    """Whether there may be a row of both, by what they name."""
    names = named(change)
    return all(names.get(name, value) == value for name, value in named(other).items())


def scheduled_after(change: PriceChange, at: datetime | None) -> list[int]:
    """The scheduled changes that will overrule a change of the catalogue, if it came at `at` (None:
    now). One query; none for a set.
    """
    if not is_of_catalogue(change):
        return []
    subject = subject_of(change)
    same: dict[str, Any] = {"kind": change.kind, subject.column: subject.id}
    later = PriceChange.objects.filter(
        ~is_stopped(), status=PriceChange.Status.SCHEDULED, **same
    ).exclude(pk=change.pk)
    after = Q(effective_at__gt=at or BookNow())
    if change.approval is not None:
        after |= Q(effective_at=at, approval__gt=change.approval)
    found = later.filter(after).order_by("effective_at", "approval")
    return list(found.values_list("pk", flat=True))


def named(change: PriceChange) -> dict[str, int]:
    """The service, plan, client and subscription that it names, by their ids.

    Each of its rows has all of them, so two changes that name different ones share no rows.
    """
    which = change.filter or {}
    ids = {name: which.get(name) for name in NAMES}
    ids |= {"service": change.service_id or ids["service"], "plan": change.plan_id or ids["plan"]}
    return {name: pk for name, pk in ids.items() if pk is not None}
