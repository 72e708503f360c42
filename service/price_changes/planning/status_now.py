"""The state of scheduled changes as of now, whether a worker has written it down or not.

A scheduled change of the catalogue finds the value that is in force just before its instant. That
may not be the one that its approver saw: others were scheduled before it, or somebody has edited
the value since.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Exists
from django.utils.translation import gettext as _

from price_changes import notes
from price_changes.kinds import is_of_catalogue
from price_changes.models import Brake, PriceChange, Untold
from price_changes.planning.around import counted_at, scheduled_after, scheduled_before
from price_changes.planning.braked import brake_of, brakes_of
from price_changes.planning.noticed import untold
from pricebook.kit.figures import day, grouped
from services import held_values
from services.held_values import Finds
from services.models import BookNow, book_clock

Status = PriceChange.Status


def found_by(change: PriceChange) -> Finds | None:
    """The value that a change finds; None for a set, a revert, and one that has decided nothing.

    One query for a change of the catalogue.
    """
    if not is_of_catalogue(change) or change.reverts_id is not None:
        return None
    return held_values.finds([change.pk]).get(change.pk)


def is_held(change: PriceChange) -> bool:
    """Whether it is scheduled and held by its instant. Two queries for a change of the catalogue,
    one or two for a set; one or two more if it asks for a notice.
    """
    if change.status != Status.SCHEDULED:
        return False
    if brake_of(change) is not None or untold([change]):
        return change.effective_at is not None and change.effective_at <= book_clock()
    found = found_by(change)
    return found is not None and found.is_held and found.has_come


def refresh(changes: Iterable[PriceChange]) -> None:
    """Set on scheduled changes what holds them or will: the brake, their notice, and for those of
    the catalogue what they find; and the status held if they are.

    Nothing is saved. One query if any is scheduled or held, one more if any of the catalogue is;
    up to three more if any asks for a notice.
    """
    changes = list(changes)
    _refresh_braked(changes)
    _refresh_untold(changes)
    asked = {
        change.pk: change
        for change in changes
        if change.status == Status.SCHEDULED
        and change.brake is None
        and change.untold is None
        and is_of_catalogue(change)
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


def _refresh_braked(changes: list[PriceChange]) -> None:
    braked = brakes_of(changes)
    now = book_clock() if braked else None
    for change in changes:
        brake = change.brake = braked.get(change.pk)
        if brake is None or change.status != Status.SCHEDULED:
            continue
        assert change.effective_at is not None
        assert now is not None
        change.will_be_held, change.has_come = True, change.effective_at <= now
        if change.has_come:
            hold_by_brake(change, brake)


def _refresh_untold(changes: list[PriceChange]) -> None:
    """After `_refresh_braked`: a change that the brake holds has that reason alone."""
    left = untold(change for change in changes if change.status == Status.SCHEDULED)
    now = book_clock() if left else None
    for change in changes:
        found = change.untold = left.get(change.pk)
        if found is None or change.brake is not None:
            continue
        assert change.effective_at is not None
        assert now is not None
        change.will_be_held, change.has_come = True, change.effective_at <= now
        if change.has_come:
            hold_by_notice(change, found)


def hold_by_notice(change: PriceChange, found: Untold) -> None:
    """Mark a change as held because not all its clients were told in time; not saved."""
    change.status, change.started_at = Status.HELD, None
    change.note = notes.HELD_BY_NOTICE % {
        "left": found.left,
        "total": found.total,
        "by": found.by and found.by.isoformat(),
    }


def hold_by_brake(change: PriceChange, brake: Brake) -> None:
    """Mark a change as held because the brake was on at its instant; not saved."""
    change.status, change.started_at = Status.HELD, None
    change.note = notes.HELD_BY_BRAKE % {
        "by": brake.pulled_by,
        "at": brake.pulled_at.isoformat(),
        "reason": brake.reason,
    }
    change.note = change.note[:500]


def hold(change: PriceChange, found: Finds) -> None:
    """Mark a change as held because it found another value than its approver saw; not saved."""
    change.status, change.started_at = Status.HELD, None
    change.note = notes.FOUND_ANOTHER % {"found": found.found, "seen": found.seen}


def warning(change: PriceChange) -> str:
    """A sentence on a scheduled change that finds another value than was approved, or on a set that
    waits though its instant has come; else empty.

    `refresh` must have been called for the change. One query for a set.
    """
    if change.status != Status.SCHEDULED:
        return ""
    if change.brake is not None:
        return _(
            "The brake is on: %(pulled_by)s has pulled it. If nobody releases it before"
            " the change's instant, the change will be held."
        ) % {"pulled_by": change.brake.pulled_by}
    if change.untold is not None:
        return _(
            "Told: %(told)s of %(total)s clients; by %(by)s all have to be, else it will be held."
        ) % {
            "told": grouped(change.untold.told),
            "total": grouped(change.untold.total),
            "by": day(change.untold.by),
        }
    if not is_of_catalogue(change):
        return waits(change)
    if change.finds in (None, change.old_value):
        return ""
    if change.will_be_held:
        text = _(
            "It was approved as %(old)s → %(new)s, and will find %(finds)s: it will be held, unless"
            " that changes back. Cancel it and plan it again."
        )
    else:
        text = _("It was approved as %(old)s → %(new)s, and will find %(finds)s.")
    return text % {"old": change.old_value, "new": change.new_value, "finds": change.finds}


def waits(change: PriceChange) -> str:
    """A sentence on the paused change for which a set waits whose instant has come, or empty. One
    query.
    """
    has_come = PriceChange.objects.filter(pk=change.pk, effective_at__lte=BookNow())
    paused = PriceChange.objects.filter(Exists(has_come), status=Status.PAUSED)
    pk = paused.order_by("effective_at", "approval").values_list("pk", flat=True).first()
    if pk is None:
        return ""
    return _(
        "It waits: price change %(pk)s is paused, and may have rows of it to move. Resume"
        " or cancel that one."
    ) % {"pk": pk}


def around(change: PriceChange) -> dict[str, list[int]]:
    """The changes that are scheduled before a change, and those that will overrule it.

    As of now if it has not begun, else as its preview had them. Two queries.
    """
    stored = change.preview or {}
    if change.started_at is not None or change.status == Status.CANCELLED:
        return {name: stored.get(name, []) for name in ("scheduled_before", "scheduled_after")}
    at = counted_at(change)
    return {
        "scheduled_before": scheduled_before(change, at),
        "scheduled_after": scheduled_after(change, at),
    }
