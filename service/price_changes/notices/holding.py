"""The value of a change of the catalogue is held back until all its clients are told.

It is written as the brake writes: the readers of values ask no list and no table of notices.
"""

from __future__ import annotations

from datetime import datetime

from django.db import IntegrityError, transaction

from price_changes import notes
from price_changes.kinds import is_of_catalogue
from price_changes.models import AllTold, PriceChange, ToTell
from price_changes.planning.braked import brake_on
from services import catalogue_values, held_values

Status = PriceChange.Status


def begin(change: PriceChange, now: datetime, author: str) -> None:
    """Begin the notice of a change that is being approved, and has its list and its value. Up to
    four queries; none for a change that asks for no notice."""
    if change.notice_days is None:
        return
    told = _all_are_told(change)  # there may be nobody to tell
    _note(change, told, now)
    if not told and is_of_catalogue(change):
        catalogue_values.hold_back([change.pk], now, author)


def turn(change: PriceChange, now: datetime, author: str) -> None:
    """Let a change come whose clients are all told by now, or hold it back again. Up to five
    queries. The change must be locked by the transaction, and its service or plan too; and `now`,
    read after that, must be before its instant.
    """
    assert change.approval is not None
    told = _all_are_told(change)
    facts = AllTold.objects.filter(change_id=change.pk, approval=change.approval)
    if facts.order_by("-pk").values_list("all_told", flat=True).first() == told:
        return
    _note(change, told, now)
    if not is_of_catalogue(change):
        return
    if not told:
        catalogue_values.hold_back([change.pk], now, author)
    elif brake_on() is None:
        let_come(change, now, author, notes.TOLD_CANT_COME)


def _all_are_told(change: PriceChange) -> bool:
    return not ToTell.objects.filter(change_id=change.pk, in_time=False).exists()


def _note(change: PriceChange, told: bool, now: datetime) -> None:
    assert change.approval is not None
    AllTold.objects.create(
        change_id=change.pk, approval=change.approval, recorded_at=now, all_told=told
    )


def let_come(change: PriceChange, now: datetime, author: str, refused: str) -> None:
    """Let a change of the catalogue come that was held back; hold it, with the note `refused`, if
    another plan has its discount by now. One query, or four."""
    try:
        with transaction.atomic():
            catalogue_values.let_come([change.pk], now, author)
    except IntegrityError as error:
        note = refused % {"refused": str(error).partition("\n")[0]}
        PriceChange.objects.filter(pk=change.pk).update(status=Status.HELD, note=note[:500])
        held_values.judge(change.pk)
        catalogue_values.started(change.pk)  # no worker has to come for it
