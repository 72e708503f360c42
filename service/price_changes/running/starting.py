"""Starting a change when it is due.

Every drain of the workers (`services.repricing`) calls it, by way of `services.hooks`.

    start_due()   in the order of (effective instant, approval), one at a time
      a change of the catalogue: its repricing is recorded, and the value is copied
      a change of a set: its rows are listed, judged as of the instant, and moved (`listing`)

A change that is started late never overwrites a later one: the catalogue keeps the later value.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from django.db import (
    DatabaseError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)
from django.db.models import Exists, Q, QuerySet

from price_changes import notes
from price_changes.kinds import OF_ROWS, is_of_catalogue, members, subject_of
from price_changes.models import ListedRows, PriceChange
from price_changes.planning import status_now
from price_changes.planning.braked import brake_of
from price_changes.planning.catalogue_value import value_now
from price_changes.planning.noticed import untold
from price_changes.running import cancelling, listing, refused_starts
from price_changes.running.drift import drift
from pricebook.kit.log_context import about
from pricebook.kit.points import at_point
from services import catalogue_values, held_values
from services.models import (
    BookNow,
    Repricing,
    RepricingQuerySet,
    book_clock,
)
from services.repricing.locks import LockHeld, giving_way

logger = logging.getLogger(__name__)

Status = PriceChange.Status


def start_due() -> bool:
    """Start all changes whose instant has come; False if one has to wait for a lock or a writer.

    One query if none has come.
    """
    while True:
        due = _due().order_by("effective_at", "approval")
        first = due.first()
        if first is None:
            return True
        try:
            if not is_of_catalogue(first) and not listing.copy_what_came_before(first):
                return False
            found = drift(first)  # not in the start's transaction: others wait for its locks
            with giving_way(), connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_try_advisory_xact_lock('price_changes_pricechange'::regclass::oid"
                    "::int, 0)"
                )
                if cursor.fetchone() == (False,):
                    return False  # another worker starts them, in their order
                change = due.select_for_update().first()
                if change is not None and change.pk == first.pk:
                    change.drift = found
                    _start_or_hold(change)
                at_point("change started")
            if change is not None and change.status != Status.SCHEDULED:
                _tell(change)
        except listing.Waits as waits:
            due.filter(pk=first.pk).exclude(note=str(waits)).update(note=str(waits)[:500])
            return False
        except LockHeld:
            return False


def _due() -> QuerySet[PriceChange]:
    """The scheduled changes that have come. No sets while a change is paused that has not written
    all its rows: a set may depend on these."""
    paused = Repricing.objects.due().filter(paused_at__isnull=False)
    due = PriceChange.objects.filter(status=Status.SCHEDULED, effective_at__lte=BookNow())
    return due.exclude(Q(kind__in=OF_ROWS) & Exists(paused))


def set_waits_since() -> datetime | None:
    """The instant of the first set that has come and is not listed. One query."""
    sets = _due().filter(kind__in=OF_ROWS).order_by("effective_at")
    return sets.values_list("effective_at", flat=True).first()


def _start_or_hold(change: PriceChange) -> None:
    """Start a change; hold it, with the reason, if the database refuses: others wait behind it."""
    try:
        with transaction.atomic():
            start(change)
    except (OperationalError, InterfaceError):
        raise
    except DatabaseError as error:
        reason = refused_starts.reason(change, error)
        note = notes.NOT_STARTED % {"reason": reason}
        if is_of_catalogue(change) and change.effective_at is not None:
            try:
                with transaction.atomic():
                    catalogue_values.withdraw(change.pk, change.approved_by)
            except IntegrityError as refused:  # another plan has what this one would have again
                raise listing.Waits(note) from refused
        members.forget(change)
        change.status, change.note, change.has_members = Status.HELD, note[:500], False
        PriceChange.objects.filter(pk=change.pk).update(
            status=change.status, note=change.note, has_members=False
        )


def _tell(change: PriceChange) -> None:
    """Tell the log what has become of a change whose instant has come."""
    level = logging.WARNING if change.status == Status.HELD else logging.INFO
    note = f": {change.note}" if change.note else ""
    with about(change_id=change.pk):
        logger.log(level, "Price change %s is %s now%s", change.pk, change.status, note)


def start(change: PriceChange) -> None:
    """Start a change whose instant has come, or hold it. Its row must be locked by the transaction:
    so a brake that is being pulled, or a person who is telling clients, has found it scheduled, or
    waits for this commit.
    """
    if _is_stopped(change):
        return
    change.started_at = book_clock()
    change.status = Status.APPLYING
    if is_of_catalogue(change):
        _go_on_with(change.reverts)
        _start_catalogue(change)
    else:
        listing.start_rows(change)
    if change.status == Status.APPLYING and change.reverts is not None:
        _take_turns(change.reverts)
        at_point("revert started")
    change.save(
        update_fields=[
            "started_at",
            "status",
            "note",
            "drift",
            "old_value",
            "new_value",
            "finished_at",
            "has_members",
        ]
    )
    if change.status == Status.APPLYING and not _repricings(change).due().exists():
        change.status, change.finished_at = Status.APPLIED, book_clock()
        change.save(update_fields=["status", "finished_at"])


def _is_stopped(change: PriceChange) -> bool:
    """Hold a change if the brake was on at its instant, or not all its clients were told in time;
    whether it did."""
    if (brake := brake_of(change)) is not None:
        status_now.hold_by_brake(change, brake)
    elif (left := untold([change]).get(change.pk)) is not None:
        status_now.hold_by_notice(change, left)
    else:
        return False
    if is_of_catalogue(change):
        held_values.judge(change.pk)
        catalogue_values.started(change.pk)
    else:
        ListedRows.objects.filter(change_id=change.pk).delete()
        members.forget(change)
    change.save(update_fields=["status", "started_at", "note", "has_members"])
    return True


def _go_on_with(undone: PriceChange | None) -> None:
    """Have the workers finish a change that is taken back before it is applied, without stamps.

    A trigger marks it as reverted at the end.
    """
    if undone is not None and undone.status in (Status.APPLYING, Status.PAUSED):
        cancelling.go_on(undone)
        undone.status = Status.APPLYING
        undone.save(update_fields=["status"])


def _take_turns(undone: PriceChange | None) -> None:
    """Mark a change that is taken back as reverted, the one that it had taken back as applied, and
    so on.
    """
    status = Status.REVERTED
    while undone is not None:
        if undone.status in (Status.APPLIED, Status.REVERTED):
            undone.status = status
            undone.save(update_fields=["status"])
        status = Status.APPLIED if status == Status.REVERTED else Status.REVERTED
        undone = undone.reverts


def _repricings(change: PriceChange) -> RepricingQuerySet:
    return Repricing.objects.filter(change_id=change.pk)


# --- The catalogue ----------------------------------------------------------------------------


def _start_catalogue(change: PriceChange) -> None:
    """Record the repricing that copies a value; it is in force already, since its instant."""
    subject = subject_of(change)
    subject.lock()  # before anything is read: this sees earlier writers, and later ones see this
    now = value_now(change)
    if now is None:
        deleted = notes.SERVICE_DELETED if subject.role == "service" else notes.PLAN_DELETED
        change.status, change.note = Status.CANCELLED, deleted
        return
    assert change.effective_at is not None
    found = status_now.found_by(change)
    held_values.judge(change.pk)
    if found is not None and found.is_held:
        status_now.hold(change, found)
        return
    found_out = []
    if change.drift:
        found_out.append(notes.WRITTEN_BETWEEN % {"rows": change.drift})
    if change.reverts is not None:
        expected, at = change.new_value, change.effective_at
        change.new_value = catalogue_values.value_at(subject, at)
        if change.new_value != expected:
            found_out.append(notes.WITHOUT_IT % {"value": change.new_value, "expected": expected})
        before = catalogue_values.value_if(
            subject, change.first.pk, counts=not change.counts_again, at=at
        )
    else:
        before = catalogue_values.value_before(change.pk)
        if before != change.old_value:
            found_out.append(notes.OTHER_BEFORE % {"before": before, "expected": change.old_value})
    change.old_value = before
    later = catalogue_values.superseded_by(subject, change.pk, change.effective_at)
    edit: dict[str, Any] = {
        subject.column: subject.id,
        "change_id": change.pk,
        "effective_at": change.effective_at,
        "comment": change.comment,
        "author": change.approved_by,
        "old_value": before,
        "new_value": change.new_value,
    }
    if later is not None:
        found_out.append(notes.SUPERSEDED % {"number": later[0]})
    if before != change.new_value or change.for_new_only:
        kind = Repricing.Mode.KEEP if change.for_new_only else Repricing.Mode.CATALOGUE
        locked_until = change.locked_until if change.for_new_only else None
        Repricing.objects.create(**edit, kind=kind, locked_until=locked_until)
    else:
        found_out.append(notes.IN_FORCE_ALREADY % {"value": before})
        if change.comment:
            Repricing.objects.create(**edit)
    subject.make_room(now)
    copy = subject.model._default_manager.filter(pk=subject.id)
    value: dict[str, Any] = {subject.field: now}
    copy.exclude(**value).update(**value)
    catalogue_values.started(change.pk)
    change.note = " ".join(found_out)[:500]
    if change.reverts is not None:
        _put_back_beside_the_value(change, change.reverts, edit)


def _put_back_beside_the_value(
    change: PriceChange, undone: PriceChange, edit: dict[str, Any]
) -> None:
    """Have the repricing restore the comments that the undone change has stamped, and the price
    states that it has written.
    """
    unstamps = undone.pk if undone.comment else None
    unkeeps = undone.pk if undone.first.for_new_only else None
    if unstamps is None and unkeeps is None:
        return
    if not _repricings(change).exists():
        Repricing.objects.create(**edit)
    _repricings(change).update(unstamps_change_id=unstamps, unkeeps_change_id=unkeeps)
