"""The brake: one action that holds every start from now on, and one that lets them come again.

    pull()      what is scheduled is held back: no value of it counts, and no set of it is listed
    release()   what is still to come counts again; what came meanwhile stays held

Both lock what a start and an approval lock, and read the clock after that. So a change that has
started came before the pull, whoever started it, and each approval sees the brake or is seen by it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from price_changes import notes
from price_changes.errors import ChangeError
from price_changes.kinds import is_of_catalogue, subject_of
from price_changes.kinds.values import parse_text
from price_changes.models import Brake, PriceChange
from price_changes.notices import holding
from price_changes.planning.braked import brake_of, brake_on
from price_changes.planning.noticed import untold
from pricebook.kit.figures import instant
from services import catalogue_values
from services.models import BookNow
from services.repricing.locks import LockHeld, giving_way

Status = PriceChange.Status
LONGEST_REASON = 1000
# After so many attempts that gave way to somebody's lock, it waits as long as it has to.
ATTEMPTS = 20

# Approvals come one after the other, so that each sees the changes that those before it have
# scheduled. It is the last lock, held for a few short statements. (Starts have number 0.)
ONE_BY_ONE = "SELECT pg_advisory_xact_lock('price_changes_pricechange'::regclass::oid::int, 1)"

Done = TypeVar("Done")


@dataclass(frozen=True)
class BrakeState:
    """The brake that is on, if one is, and the price changes that it is about, by their ids."""

    brake: Brake | None
    to_come: list[int]  # approved for later: held by the brake if it is on by then
    under_way: list[int]  # in force, and not applied yet: the brake does not stop them

    @property
    def on(self) -> bool:
        return self.brake is not None


def state() -> BrakeState:
    """The state of the brake now. Two queries."""
    brake = brake_on()
    under_way = (Status.SCHEDULED, Status.APPLYING, Status.PAUSED)
    changes: QuerySet[Any] = PriceChange.objects.filter(status__in=under_way)
    changes = changes.only(
        "status", "effective_at", "approved_at", "notice_days", "notice_by"
    ).annotate(asked_at=BookNow())
    to_come, begun = [], []
    for change in changes.order_by("effective_at", "approval"):
        comes = change.status == Status.SCHEDULED and change.effective_at > change.asked_at
        if comes:
            to_come.append(change.pk)
        elif change.status != Status.SCHEDULED or not (brake_of(change) or untold([change])):
            begun.append(change.pk)
    return BrakeState(brake, to_come, begun)


def pull(author: str, reason: Any) -> Brake:
    """Hold every change that would start from now on; raises ChangeError (`brake_is_on`)."""
    reason = _reason(reason)

    def pulled(now: datetime, to_come: list[PriceChange]) -> Brake:
        brake = brake_on()
        if brake is not None:
            raise ChangeError(
                "brake_is_on",
                _("%(said)s It can't be pulled twice.") % {"said": said(brake)},
                409,
                **about(brake),
            )
        brake = Brake.objects.create(pulled_at=now, pulled_by=author, reason=reason)
        of_catalogue = [change.pk for change in to_come if is_of_catalogue(change)]
        catalogue_values.hold_back(of_catalogue, now, author)
        return brake

    return _alone(pulled)


def release(author: str, reason: Any, seen: int | None = None) -> Brake:
    """Let changes start again from now on; raises ChangeError (`brake_is_off`).

    `seen`: the number of the brake that the author was shown. Another one, which somebody has
    pulled since, stays on.
    A change whose instant has come meanwhile is held. So is one that can't come any more, because
    another plan has its discount by now. One that its notice holds goes on being held by that.
    """
    reason = _reason(reason)

    def released(now: datetime, to_come: list[PriceChange]) -> Brake:
        brake = brake_on()
        if brake is None:
            raise ChangeError("brake_is_off", _("The brake is not on: nothing to release."), 409)
        if seen not in (None, brake.pk):
            told = _("The brake that you saw is off already, and this is another one. %(said)s")
            raise ChangeError("brake_is_off", told % {"said": said(brake)}, 409, **about(brake))
        brake.released_at, brake.released_by, brake.release_reason = now, author, reason
        brake.save(update_fields=["released_at", "released_by", "release_reason"])
        left = untold(to_come)
        for change in to_come:
            if is_of_catalogue(change) and change.pk not in left:
                holding.let_come(change, now, author, notes.CANT_COME)
        return brake

    return _alone(released)


def refuse_if_on(change: PriceChange, at: datetime | None, now: datetime | None) -> Brake | None:
    """Refuse to start a change at once (`at` is None, or has come by `now`) while the brake is on;
    returns the brake that is on. One query.

    A revert may always be approved, unless it brings a change back: that is a start.
    """
    brake = brake_on()
    at_once = at is None or (now is not None and at <= now)
    takes_back = change.reverts_id is not None and not change.counts_again
    if brake is not None and at_once and not takes_back:
        raise ChangeError(
            "brake_is_on",
            _(
                "%(said)s No change can start now: release the brake first, or approve it for"
                " an instant to come (effective_at); it is held if the brake is still on by"
                " then."
            )
            % {"said": said(brake)},
            409,
            **about(brake),
        )
    return brake


def hold_back(change: PriceChange, brake: Brake, now: datetime) -> None:
    """Hold back what the approval of a change to come has decided while the brake is on. Up to one
    query."""
    assert change.effective_at is not None
    if is_of_catalogue(change) and change.effective_at > now:
        catalogue_values.hold_back([change.pk], now, brake.pulled_by)


def said(brake: Brake) -> str:
    """The brake in a sentence or two: who has pulled it, when and why, and who released it."""
    words = _("%(by)s pulled the brake %(at)s: %(reason)s") % {
        "by": brake.pulled_by,
        "at": instant(brake.pulled_at),
        "reason": brake.reason,
    }
    words = words if words.endswith((".", "!", "?")) else f"{words}."
    if brake.released_at is None:
        return _("The brake is on. %(words)s") % {"words": words}
    return _("%(words)s %(by)s released it %(at)s.") % {
        "words": words,
        "by": brake.released_by,
        "at": instant(brake.released_at),
    }


def about(brake: Brake) -> dict[str, Any]:
    """The members of a refusal because of a brake."""
    return {
        "pulled_by": brake.pulled_by,
        "pulled_at": brake.pulled_at.isoformat(),
        "reason": brake.reason,
    }


def _reason(given: Any) -> str:
    reason = parse_text("reason", "" if given is None else given, LONGEST_REASON)
    if not reason:
        raise ChangeError(
            "missing",
            _("Say why: a reason is required, and everybody sees it."),
            parameter="reason",
        )
    return reason


class _ApprovedMeanwhile(Exception):
    """Takes back the locks: a change was scheduled that they do not cover."""


def _alone(act: Callable[[datetime, list[PriceChange]], Done]) -> Done:
    """Do `act(now, the changes to come)` while nobody starts, approves or undoes one of them, and
    nobody edits what they are about. It gives way to others, and in the end waits for them.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            with giving_way() if attempt < ATTEMPTS else transaction.atomic():
                locked = _lock_those_to_come()
                now = _lock_approvals()
                to_come = [change for change in locked if change.effective_at > now]
                _refuse_others({change.pk for change in to_come}, now)
                return act(now, to_come)
        except (LockHeld, _ApprovedMeanwhile):
            continue


def _lock_those_to_come() -> list[Any]:
    """Lock the scheduled changes, as a start and a verb do, then the services and plans that they
    are about: services first, as all do.
    """
    scheduled = PriceChange.objects.filter(status=Status.SCHEDULED, effective_at__gt=BookNow())
    changes = list(scheduled.select_for_update().order_by("pk"))
    subjects = {subject_of(change) for change in changes if is_of_catalogue(change)}
    for subject in sorted(subjects, key=lambda each: (each.role == "plan", each.id % 1024)):
        subject.lock()
    return changes


def _lock_approvals() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute(ONE_BY_ONE)
        cursor.execute("SELECT book_clock()")
        now: datetime
        (now,) = cursor.fetchone()
    return now


def _refuse_others(locked: Collection[int], now: datetime) -> None:
    scheduled = PriceChange.objects.filter(status=Status.SCHEDULED, effective_at__gt=now)
    if scheduled.exclude(pk__in=locked).exists():
        raise _ApprovedMeanwhile
