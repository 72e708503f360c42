"""The verbs that a price change allows now, and the lock on a change while a verb is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from price_changes.errors import ChangeError
from price_changes.kinds import is_of_catalogue
from price_changes.models import PriceChange
from price_changes.planning import status_now
from price_changes.planning.local_instant import other_instant
from price_changes.running import starting
from services.models import book_clock
from services.models.catalogue import SAME_DISCOUNT

Status = PriceChange.Status

# The states that allow each verb.
ALLOWED = {
    "preview": [Status.PLANNED, Status.HELD],
    "approve": [Status.PLANNED, Status.HELD],
    "reject": [Status.PLANNED, Status.HELD],
    "pause": [Status.APPLYING],
    "resume": [Status.PAUSED],
    "cancel": [
        Status.PLANNED,
        Status.SCHEDULED,
        Status.HELD,
        Status.APPLYING,
        Status.PAUSED,
    ],
    "revert": [Status.APPLIED],  # or in force: `is_in_force`
    # Only if it is an edit that nobody has approved: `not_approved`.
    "accept": [Status.APPLYING, Status.PAUSED, Status.APPLIED],
    # Only if the rules of its time zone have changed: `other_instant`.
    "keep_instant": [Status.PLANNED, Status.SCHEDULED, Status.HELD],
}


def allowed(change: PriceChange) -> list[str]:
    """The verbs that the state of a change allows."""
    found = [verb for verb, states in ALLOWED.items() if change.status in states]
    if "revert" not in found and is_in_force(change, change.has_come):
        found.append("revert")
    if "accept" in found and not change.not_approved:
        found.remove("accept")
    if "keep_instant" in found and other_instant(change) is None:
        found.remove("keep_instant")
    if {"cancel", "revert"} & set(found) and undoes_a_cancel(change):
        found = [verb for verb in found if verb not in ("cancel", "revert")]
    return found


def undoes_a_cancel(change: PriceChange) -> bool:
    """Whether it takes back what a cancelled change had done, which then stays taken back.

    A change that is cancelled would be in force otherwise. One that is held has taken back nothing,
    and can be cancelled.
    """
    undone = change.reverts
    if undone is None or change.status == Status.HELD:
        return False
    return undone.status == Status.CANCELLED


def refuse_to_undo_a_cancel(change: PriceChange) -> None:
    if undoes_a_cancel(change):
        raise ChangeError(
            "was_cancelled",
            _(
                "Price change %(pk)s takes back what price change %(reverts_id)s had applied"
                " before it was cancelled; plan another one instead."
            )
            % {"pk": change.pk, "reverts_id": change.reverts_id},
            409,
        )


@contextmanager
def held(change_id: int, verb: str) -> Iterator[PriceChange]:
    """The change, locked for a verb that its state allows. Refuses, as the database does, what
    would give a plan the discount of another one."""
    with plan_exists_refused(), transaction.atomic():
        change = PriceChange.objects.select_for_update().filter(pk=change_id).first()
        if change is None:
            raise ChangeError(
                "not_found",
                _("There is no price change %(change_id)s.") % {"change_id": change_id},
                404,
            )
        hold_if_held(change)
        if change.status not in ALLOWED[verb] and not (
            verb == "revert" and is_in_force(change, has_come(change))
        ):
            raise wrong_state(change, verb)
        yield change


@contextmanager
def plan_exists_refused() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        cause = error.__cause__
        if not isinstance(cause, psycopg.Error) or cause.diag.constraint_name != SAME_DISCOUNT:
            raise
        raise ChangeError(
            "plan_exists",
            _(
                "Nothing was done: %(message_primary)s. Move the subscriptions of one to the"
                " other, or give one another discount."
            )
            % {"message_primary": cause.diag.message_primary},
            409,
        ) from error


def is_in_force(change: PriceChange, has_come: bool) -> bool:
    """Whether it is applying, or a change of the catalogue that has come.

    It is in force then, however few of its rows have been copied. A set that is paused has to be
    resumed first, because its revert would wait for its copies.
    """
    if not is_of_catalogue(change):
        return change.status == Status.APPLYING
    begun = change.status in (Status.APPLYING, Status.PAUSED)
    return begun or (change.status == Status.SCHEDULED and has_come)


def has_come(change: PriceChange) -> bool:
    return change.effective_at is not None and change.effective_at <= book_clock()


def hold_if_held(change: PriceChange) -> None:
    """Store that a change is held by its instant, if no worker has done so yet.

    Its row must be locked by the transaction.
    """
    if status_now.is_held(change):
        starting.start(change)


# How verbs stand in a sentence. English has them as they are called.
VERBS = {
    "preview": gettext_noop("preview again"),
    "approve": gettext_noop("approve"),
    "reject": gettext_noop("reject"),
    "pause": gettext_noop("pause"),
    "resume": gettext_noop("resume"),
    "cancel": gettext_noop("cancel"),
    "revert": gettext_noop("revert"),
    "accept": gettext_noop("accept"),
    "keep_instant": gettext_noop("keep_instant"),
}


def wrong_state(change: PriceChange, verb: str) -> ChangeError:
    states = [state.value for state in ALLOWED[verb]]
    may_be = _(" or ").join(map(_word, states))
    return ChangeError(
        "wrong_state",
        _("Price change %(pk)s is %(status)s; to %(verb)s, it has to be %(states)s.")
        % {
            "pk": change.pk,
            "status": _word(change.status),
            "verb": _(VERBS[verb]),
            "states": may_be,
        },
        409,
        state=change.status,
        allowed=states,
    )


def _word(status: str) -> str:
    return str(Status(status).label).lower()


def refuse_to_revert(change: PriceChange) -> None:
    """Raise ChangeError for a change that a revert has taken back, and another one brought back:
    that one is to be reverted. A query for each of them."""
    refuse_to_undo_a_cancel(change)
    last = change
    while (
        back := last.reverted_by.exclude(status=Status.CANCELLED)
        .filter(started_at__isnull=False)
        .order_by("-pk")
        .first()
    ) is not None:
        last = back
    if last != change:
        raise ChangeError(
            "revert_the_last",
            _(
                "Price change %(pk)s was reverted, and is in force by price change %(pk2)s:"
                " revert that one."
            )
            % {"pk": change.pk, "pk2": last.pk},
            409,
            allowed=[last.pk],
        )
