"""How changes of the catalogue stand by now, whether a worker has written that down or not.

One that is scheduled finds before it what is in force by then, which may be another value than the
one that was approved: others have been scheduled before it, or somebody has edited it since.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Exists

from price_changes.models import PriceChange
from price_changes.planning import preview as previews
from price_changes.planning.catalogue_value import CATALOGUE
from services import held_values
from services.held_values import Finds
from services.models import Clock

Status = PriceChange.Status


def found_by(change: PriceChange) -> Finds | None:
    """What it finds; None where nothing is decided. One query for a change of the catalogue."""
    if change.kind not in CATALOGUE or change.reverts_id is not None:
        return None
    return held_values.finds([change.pk]).get(change.pk)


def is_held(change: PriceChange) -> bool:
    """Whether it is scheduled and held by its instant. One query for a change of the catalogue."""
    if change.status != Status.SCHEDULED:
        return False
    found = found_by(change)
    return found is not None and found.is_held and found.has_come


def as_they_stand(changes: Iterable[PriceChange]) -> None:
    """Have these say what they find, and that they are held where they are; nothing is saved.

    One query if any of them is a change of the catalogue that is scheduled.
    """
    asked = {
        change.pk: change
        for change in changes
        if change.status == Status.SCHEDULED
        and change.kind in CATALOGUE
        and change.reverts_id is None
    }
    if not asked:
        return
    for pk, found in held_values.finds(list(asked)).items():
        change = asked[pk]
        change.finds, change.will_be_held = found.found, found.is_held
        change.has_come = found.has_come
        if found.is_held and found.has_come:
            hold(change, found)


def hold(change: PriceChange, found: Finds) -> None:
    """As a change stands that found another value than its approver had seen; not saved."""
    change.status, change.started_at = Status.HELD, None
    change.note = (
        f"It found {found.found}, and its approver had seen {found.seen}: preview it again, and"
        " approve or cancel."
    )


def warning(change: PriceChange) -> str:
    """What has moved since the approval of one that is scheduled; of one that `as_they_stand` has
    told. And why a set waits though its instant has come; one query then."""
    if change.status != Status.SCHEDULED:
        return ""
    if change.kind not in CATALOGUE:
        return waits(change)
    if change.finds in (None, change.old_value):
        return ""
    says = f"It was approved as {change.old_value} → {change.new_value}, and will find"
    says += f" {change.finds}"
    if change.will_be_held:
        return f"{says}: it will be held, unless that changes back. Cancel it and plan it again."
    return f"{says}."


def waits(change: PriceChange) -> str:
    """For which change a set waits, whose instant has come: one that is paused. One query."""
    has_come = PriceChange.objects.filter(pk=change.pk, effective_at__lte=Clock())
    paused = PriceChange.objects.filter(Exists(has_come), status=Status.PAUSED)
    pk = paused.order_by("effective_at", "approval").values_list("pk", flat=True).first()
    if pk is None:
        return ""
    return (
        f"It waits: price change {pk} is paused, and may have rows of it to move. Resume or cancel"
        " that one."
    )


def around(change: PriceChange) -> dict[str, list[int]]:
    """What is scheduled before one that has not begun, and what will overrule it, by now. Else as
    its preview had it. Two queries."""
    kept = change.preview or {}
    if change.started_at is not None or change.status == Status.CANCELLED:
        return {name: kept.get(name, []) for name in ("scheduled_before", "scheduled_after")}
    at = previews.instant_of(change)
    return {
        "scheduled_before": previews.scheduled_before(change, at),
        "scheduled_after": previews.scheduled_after(change, at),
    }
