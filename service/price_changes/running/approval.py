"""Checks of an approval: its author, its fingerprint, `when_moved`, and the instant."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from price_changes.errors import ChangeError
from price_changes.kinds import is_of_catalogue, kind_of
from price_changes.models import PriceChange
from price_changes.planning.around import sets_of_its_instant
from price_changes.planning.counting import count
from price_changes.planning.local_instant import said_instant
from price_changes.running import limits
from price_changes.running.drift import is_of_another_life
from services import lives

Status, WhenMoved = PriceChange.Status, PriceChange.WhenMoved


def refuse_approver(change: PriceChange, author: str) -> None:
    """Refuse who is not known to be another person than the planner, beyond the limits."""
    refusal = limits.why_not(change, author)
    if refusal is not None:
        raise refusal


def refuse_fingerprint(change: PriceChange, fingerprint: str) -> None:
    if not change.has_approvable_preview:
        why = _("no preview yet")
        if change.fingerprint:
            why = _("a preview of an earlier release, which can't be approved any more")
        raise ChangeError(
            "not_previewed",
            _("Price change %(pk)s has %(why)s: preview it first.") % {"pk": change.pk, "why": why},
            409,
        )
    if is_of_another_life(change, lives.begin()):
        raise ChangeError(
            "not_previewed",
            _(
                "The preview of price change %(pk)s is of before the book was restored, or went on"
                " elsewhere: preview it again."
            )
            % {"pk": change.pk},
            409,
        )
    if fingerprint != change.fingerprint:
        raise ChangeError(
            "stale_fingerprint",
            _(
                "%(fingerprint)s is not the fingerprint of the latest preview of price change"
                " %(pk)s: look at it again, and approve that one."
            )
            % {"fingerprint": repr(str(fingerprint)[:40]), "pk": change.pk},
            409,
            parameter="fingerprint",
            value=str(fingerprint)[:100],
        )


def refuse_if_nothing_moves(change: PriceChange) -> None:
    if not is_of_catalogue(change) and not (change.preview or {}).get("moves"):
        raise ChangeError(
            "nothing_moves", _("No subscription would move; there is nothing to approve."), 409
        )


def refuse_instant_of_a_set(change: PriceChange) -> None:
    """Refuse a change for new subscriptions only at just the instant of a set that was approved
    before it, and may let rows of it follow. One query for such a change; none for another.

    The set's rows have their place among the facts of that instant when they are listed, so whether
    the change keeps them would depend on the order of approvals, which nobody sees on a bill.
    Approvals come one after the other here, so neither can miss the other.
    """
    if not change.for_new_only:
        return
    at = change.effective_at
    assert at is not None
    others = sets_of_its_instant(change, at)
    if others:
        raise ChangeError(
            "instant_of_a_set",
            _(
                "Price change %(others)s moves prices of subscriptions at just this instant,"
                " and was approved before. Plan this one a second later to keep the price of"
                " those that it lets follow, or a second earlier to leave them out; or cancel"
                " that one first."
            )
            % {"others": others[0]},
            409,
            parameter="effective_at",
            value=at.isoformat(),
            others=others,
        )


def instant_given(change: PriceChange, given: Any, zone: Any) -> dict[str, Any]:
    """The fields for the instant that an approval gives; none if the change has it already."""
    said = said_instant("effective_at", given, zone)
    at = said["effective_at"]
    if change.status == Status.PLANNED and change.effective_at not in (None, at):
        assert change.effective_at is not None
        raise ChangeError(
            "instant_is_planned",
            _(
                "It was planned and previewed for %(isoformat)s: leave effective_at out, or"
                " plan another change."
            )
            % {"isoformat": change.effective_at.isoformat()},
            409,
            parameter="effective_at",
            value=at.isoformat(),
        )
    return said if change.effective_at != at else {}


def when_moved_given(change: PriceChange, given: str | None) -> str:
    """The checked `when_moved`; by default hold. A revert is always current, and a change of the
    catalogue can't be frozen."""
    kind = kind_of(change)
    allowed = [WhenMoved.CURRENT] if change.reverts_id is not None else list(kind.when_moved)
    if given in (None, ""):
        return allowed[0]
    if given in allowed:
        return str(given)
    about: dict[str, Any] = {
        "parameter": "when_moved",
        "value": str(given)[:100],
        "allowed": [each.value for each in allowed],
    }
    if change.reverts_id is not None:
        raise ChangeError(
            "always_current",
            _("A revert moves what is there at its instant: when_moved is current."),
            **about,
        )
    may_be = ", ".join(about["allowed"])
    raise ChangeError(
        "unknown_value",
        _("when_moved of %(noun)s may be %(may_be)s.") % {"noun": kind.noun, "may_be": may_be},
        **about,
    )


def refuse_other_rows_then(change: PriceChange) -> None:
    """Refuse an instant at which the rows are not those of the preview, which was counted as of
    its own time: a lock may end in between."""
    assert change.effective_at is not None
    if count(change, change.effective_at).fingerprint != change.fingerprint:
        raise ChangeError(
            "other_rows_then",
            _(
                "As of %(isoformat)s its rows are not those of its preview, which was counted"
                " without an instant: plan it again with this instant."
            )
            % {"isoformat": change.effective_at.isoformat()},
            409,
            parameter="effective_at",
            value=change.effective_at.isoformat(),
        )
