"""The verbs that people use on a price change: approve, pause, resume, cancel, revert.

Each verb is one transaction that locks the change, checks that its state allows the verb (else
`wrong_state`, with the states that do), and records who did it. So if two people act at once, the
second one is told what the first has done. The planning is in `definition`, the preview in
`preview`, the start in `starting`, the rows in `moving`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.utils.translation import gettext as _
from django.utils.translation import override

from price_changes.errors import ChangeError, MovedSincePreview, NeedsAnother
from price_changes.kinds import is_of_catalogue, kind_of, members, refuse_value, subject_of
from price_changes.kinds.sets import refuse_filters
from price_changes.kinds.values import refuse_lock_that_has_ended
from price_changes.models import ListedRows, PriceChange
from price_changes.notices import holding, lists
from price_changes.planning import notice_days, recount
from price_changes.planning import preview as previews
from price_changes.planning.around import counted_at
from price_changes.planning.behind import rows_behind
from price_changes.planning.catalogue_value import value_without
from price_changes.planning.local_instant import other_instant
from price_changes.running import (
    allowing,
    approval,
    brake,
    cancelling,
    limits,
    listing,
    starting,
    waiting,
)
from pricebook.kit.points import at_point
from services import catalogue_values
from services.models import Clock, Repricing, book_clock

Status, WhenMoved = PriceChange.Status, PriceChange.WhenMoved


def preview(change_id: int) -> PriceChange:
    """Count what a change would do, and store it with its fingerprint; raises ChangeError."""
    with allowing.held(change_id, "preview") as change:
        return previews.preview(change)


def approve(
    change_id: int,
    fingerprint: str,
    author: str,
    when_moved: str | None = None,
    effective_at: Any = None,
    time_zone: Any = None,
) -> PriceChange:
    """Approve what the latest preview showed; the change is due at its instant, or at once.

    `when_moved`: what happens if rows have moved by then (hold, frozen, current); for a change of
    the catalogue, if the value before it is another one then (hold, current). A revert is always
    current. `effective_at` is for a change that was held, whose instant has passed, and for one
    that was planned without an instant; with `time_zone` it is a local time there. `frozen` lists
    the rows now, in one statement; otherwise they are counted again, in one statement too. Raises
    ChangeError. If the preview is no longer true (`recount`), the change is previewed again, the
    new preview is stored, and MovedSincePreview has its figures.
    """
    with allowing.held(change_id, "approve") as change:
        approval.refuse_approver(change, author)
        approval.refuse_fingerprint(change, fingerprint)
        change.when_moved = approval.when_moved_given(change, when_moved)
        approval.refuse_if_nothing_moves(change)
        if effective_at is None:
            brake.refuse_if_on(change, counted_at(change), None)
        refuse_filters(change.filter or {})
        try:
            with transaction.atomic():  # a refusal undoes the listing and frees the locks
                members.fix(change)
                if change.when_moved != WhenMoved.FROZEN:
                    of_rows = not is_of_catalogue(change)
                    exactly = of_rows and change.when_moved == WhenMoved.HOLD
                    recount.refuse_if_moved(change, exactly)
                _schedule(change, author, effective_at, time_zone)
        except MovedSincePreview:
            was = recount.Figures.of(change)
            again = previews.preview(PriceChange.objects.get(pk=change_id))
            moved = recount.moved_between(was, recount.Figures.of(again))
        else:
            return change
    raise recount.refusal(change, moved, again)


def _schedule(
    change: PriceChange, author: str, effective_at: Any = None, time_zone: Any = None
) -> None:
    previewed_for = counted_at(change)
    if effective_at is not None:
        for name, value in approval.instant_given(change, effective_at, time_zone).items():
            setattr(change, name, value)
        if not is_of_catalogue(change) and change.when_moved != WhenMoved.CURRENT:
            approval.refuse_other_rows_then(change)
    if change.when_moved == WhenMoved.FROZEN:
        _freeze(change, change.effective_at if effective_at else previewed_for)
    if change.notice_days is None:
        lists.forget_list(change)
    elif change.effective_at is not None:
        lists.make_list(change)
    now = _order(change)
    change.notice_by = notice_days.of_change(change, now)
    on = brake.refuse_if_on(change, change.effective_at, now)
    recount.refuse_if_catalogue_moved(change, previewed_for)
    _decide(change, author)
    if on is not None:
        brake.hold_back(change, on, now)
    holding.begin(change, now, author)
    change.status = Status.SCHEDULED
    change.approved_by, change.approved_at = author, now
    change.note = change.needs_another = ""
    change.save(
        update_fields=[
            "status",
            "when_moved",
            "effective_at",
            "effective_local",
            "effective_zone",
            "notice_by",
            "approval",
            "has_members",
            "approved_by",
            "approved_at",
            "note",
            "needs_another",
        ]
    )
    limits.approved(change, author)
    at_point("approved")


def _decide(change: PriceChange, author: str) -> None:
    """Record the value of a change of the catalogue as a fact, whenever a worker comes."""
    if not is_of_catalogue(change):
        return
    assert change.effective_at is not None
    if change.reverts is not None:
        catalogue_values.undo(
            change.first.pk, change.effective_at, author, change.pk, change.counts_again
        )
    else:
        assert change.new_value is not None
        catalogue_values.decide(
            subject_of(change),
            change.new_value,
            change.effective_at,
            change.pk,
            author,
            for_new_only=change.for_new_only,
            locked_until=change.locked_until if change.for_new_only else None,
            hold=change.when_moved == WhenMoved.HOLD,
        )


def _order(change: PriceChange) -> datetime:
    """Give a change its place among all changes: its instant, then its number of approval.

    Returns the clock, which is read after the locks.
    """
    if is_of_catalogue(change):
        # An edit of the same service or plan waits for this commit, so that it sees this change;
        # and the clock is read after the edits that came before.
        subject_of(change).lock()
    with connection.cursor() as cursor:
        cursor.execute(brake.ONE_BY_ONE)
        cursor.execute("SELECT nextval('price_changes_approval'), book_clock()")
        now: datetime
        change.approval, now = cursor.fetchone()
    of_held = change.status == Status.HELD and (change.effective_at or now) <= now
    if change.effective_at is None or of_held:
        change.effective_at, change.effective_local, change.effective_zone = now, "", ""
    elif change.effective_at <= now:
        raise ChangeError(
            "in_the_past",
            _("Its instant, %(isoformat)s, has passed: plan another change.")
            % {"isoformat": change.effective_at.isoformat()},
            409,
            parameter="effective_at",
            value=change.effective_at.isoformat(),
        )
    refuse_lock_that_has_ended(change.locked_until, change.effective_at)
    approval.refuse_instant_of_a_set(change)
    return now


def _freeze(change: PriceChange, at: datetime | None) -> None:
    """List the rows, judged as of an instant (None: now); refuse if they are not the previewed
    ones.
    """
    ListedRows.objects.filter(change_id=change.pk).delete()
    _, found = listing.list_rows(change, rows_behind(change, at or book_clock()))
    if found != change.fingerprint:
        raise recount.refusal(change, [])


def keep_instant(change_id: int, author: str) -> PriceChange:
    """Decide that its instant stays, though its local time is another instant by today's rules."""
    with allowing.held(change_id, "keep_instant") as change:
        if other_instant(change) is None:
            raise ChangeError(
                "instant_agrees",
                _(
                    "The instant of price change %(change_id)s is what today's rules of time"
                    " zones give: there is nothing to decide."
                )
                % {"change_id": change_id},
                409,
            )
        change.instant_kept_by = author
        change.save(update_fields=["instant_kept_by"])
    return change


def pause(change_id: int, author: str) -> PriceChange:
    """Leave the remaining rows alone until somebody resumes. Waits for no chunk."""
    with allowing.held(change_id, "pause") as change:
        Repricing.objects.due().filter(change_id=change_id).update(paused_at=Clock())
        change.status = Status.PAUSED
        change.paused_by, change.paused_at = author, book_clock()
        change.resumed_by, change.resumed_at = "", None
        change.save(update_fields=["status", "paused_by", "paused_at", "resumed_by", "resumed_at"])
        at_point("paused")
    return change


def resume(change_id: int, author: str) -> PriceChange:
    with allowing.held(change_id, "resume") as change:
        Repricing.objects.due().filter(change_id=change_id).update(paused_at=None)
        change.status = Status.APPLYING
        change.resumed_by, change.resumed_at = author, book_clock()
        if not Repricing.objects.due().filter(change_id=change_id).exists():
            change.status = Status.REVERTED if _is_taken_back(change) else Status.APPLIED
            change.finished_at = book_clock()
        change.save(update_fields=["status", "resumed_by", "resumed_at", "finished_at"])
        at_point("resumed")
    return change


def _is_taken_back(change: PriceChange) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT is_taken_back(%s)", [change.pk])
        found: bool = cursor.fetchone()[0]
    return found


def cancel(change_id: int, author: str) -> PriceChange:
    """Cancel a change. Before its instant it has no effect at all; if it has begun, it is taken
    back from now on, by a change of its own that `author` approves.

    It was in force for all of its rows until now, so the workers go on to enter and to copy that.
    Waits for chunks in hand. A change that takes back a cancelled one can't be cancelled itself.
    """
    with allowing.held(change_id, "cancel") as change:
        back = stop(change, author)
        if back is not None:
            back = limits.previewed(back)
            with override("en"):  # it is stored
                back.title = f"Cancelled: {change}"[:100]
            back.status, back.when_moved = Status.SCHEDULED, WhenMoved.CURRENT
            back.approved_by, back.approved_at = author, _order(back)
            _decide(back, author)
            back.save()
            limits.taken_back(change, back, author)
    return change


def stop(change: PriceChange, author: str) -> PriceChange | None:
    """Cancel a change that is held for it; the change that is to take it back, if it had begun.

    Raises ChangeError, for a revert that has begun also while the brake is on.
    """
    allowing.refuse_to_undo_a_cancel(change)
    began = change.status in (Status.APPLYING, Status.PAUSED)
    if change.status == Status.SCHEDULED and is_of_catalogue(change):
        began = cancelling.begun_or_withdrawn(change, author)
    if began and (back := change.reverted_by.exclude(status=Status.CANCELLED).first()):
        raise ChangeError(
            "reverted_already",
            _(
                "Price change %(pk)s is being reverted by price change %(pk2)s: approve that"
                " one, or cancel it first."
            )
            % {"pk": change.pk, "pk2": back.pk},
            409,
        )
    if began:
        cancelling.go_on(change)
        at_point("change stopped")
    else:
        ListedRows.objects.filter(change_id=change.pk).delete()
    members.forget(change)
    change.status, change.cancelled_by = Status.CANCELLED, author
    change.finished_at = book_clock()
    change.save(update_fields=["status", "cancelled_by", "finished_at", "has_members"])
    if not began:
        return None
    back = _plan_revert(change, author)
    brake.refuse_if_on(back, None, None)  # of a revert: it would bring a change back
    return back


def revert(change_id: int, author: str, approve_too: bool = False) -> PriceChange:
    """Plan the change that takes this one back, with its own preview.

    For every row that nobody touched since, it restores the price, the price state and the comment
    from before the stamp; it lists the others. A change of the catalogue may be taken back from its
    instant on, however much of it is copied: all who follow had its price until then. With
    `approve_too` it is approved in the same transaction; if it is beyond the limits of its author,
    it is planned alone, and `needs_another` says so.
    """
    try:
        with allowing.held(change_id, "revert") as change:
            allowing.refuse_to_revert(change)
            if change.status == Status.SCHEDULED:
                _begin(change)
            back = _plan_revert(change, author)
            back = previews.preview(back)
            at_point("revert planned")
            if approve_too:
                back = _approved_unseen(back, author)
    except MovedSincePreview as error:
        raise MovedSincePreview(
            _(
                "The catalogue was written while price change %(change_id)s was being taken"
                " back, and nothing was done: take it back once more."
            )
            % {"change_id": change_id},
            moved=error.about["moved"],
        ) from error
    except IntegrityError as error:
        if "price_change_reverted_once" not in str(error):
            raise
        raise ChangeError(
            "reverted_already",
            _("Price change %(change_id)s is being reverted already.") % {"change_id": change_id},
            409,
        ) from error
    return back


def _approved_unseen(back: PriceChange, author: str) -> PriceChange:
    """The revert, approved; or as a plan that waits, if it takes another person."""
    try:
        with transaction.atomic():
            # No recount: nobody has seen the preview, and it was counted a moment ago.
            approval.refuse_approver(back, author)
            back.when_moved = WhenMoved.CURRENT
            approval.refuse_if_nothing_moves(back)
            _schedule(back, author)
    except NeedsAnother as refusal:
        return waiting.made_to_wait(PriceChange.objects.get(pk=back.pk), refusal.detail)
    return back


def _begin(change: PriceChange) -> None:
    """Begin a change that is in force and that no worker has begun, so that it can be reverted."""
    subject_of(change).lock()
    try:
        with transaction.atomic():
            starting.start(change)
    except IntegrityError:
        change.refresh_from_db()  # the database refuses its value, and a worker will hold it
    if change.status not in (Status.APPLYING, Status.APPLIED):
        raise allowing.wrong_state(change, "revert")


def _plan_revert(change: PriceChange, author: str) -> PriceChange:
    with override("en"):  # it is stored
        title = f"Revert: {change}"[:100]
    back = PriceChange(
        kind=kind_of(change).taken_back_by(),
        title=title,
        planned_by=author,
        reverts=change,
        service_id=change.service_id,
        plan_id=change.plan_id,
    )
    first = change.first
    if first.status == Status.REVERTED:
        back.comment = first.comment  # it is in force again, with its stamp
    if is_of_catalogue(change):
        back.old_value, back.new_value = change.new_value, value_without(change)
        refuse_value(back)
    back.save(force_insert=True)
    back.refresh_from_db()
    return back
