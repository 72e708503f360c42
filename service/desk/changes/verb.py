"""The verbs of a price change in the desk: each with its button, its question and its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from price_changes import verbs
from price_changes.admin.figures import in_force
from price_changes.models import PriceChange
from price_changes.running import limits
from price_changes.running.judging_edits import why_not_accept
from pricebook.kit.access import author
from pricebook.kit.scopes import APPROVE, PLAN


@dataclass(frozen=True)
class Verb:
    """A verb on a page: its button, what it would do, and the function for it.

    `needs`: permissions, one of which is enough. `asks`: a page asks first.
    """

    name: str
    label: str | Promise
    says: str | Promise
    does: Callable[[PriceChange, str, dict[str, Any]], PriceChange]
    done: str | Promise
    needs: tuple[str, ...] = (APPROVE,)
    is_danger: bool = False
    asks: bool = True
    button: str | Promise = ""  # of the question, if it says more than the label


VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "approve",
            _("Approve"),
            _("You approve exactly the figures on this page."),
            lambda change, author, given: verbs.approve(change.pk, author=author, **given),
            _("Approved."),
        ),
        Verb(
            "accept",
            _("Accept what it has moved"),
            _("It has moved prices beyond a limit, by SQL or a program, and nobody has approved"
              " that. If you accept it, it stands; no price moves."),
            lambda change, author, given: verbs.accept(change.pk, author),
            _("Accepted: it stands."),
        ),
        Verb(
            "resume",
            _("Resume"),
            _("The rows that are left are written."),
            lambda change, author, given: verbs.resume(change.pk, author),
            _("Resumed."),
        ),
        Verb(
            "preview",
            _("Preview again"),
            _("It is counted anew; nothing moves."),
            lambda change, author, given: verbs.preview(change.pk),
            _("Previewed again: these are the figures of now."),
            needs=(PLAN, APPROVE),
            asks=False,
        ),
        Verb(
            "keep_instant",
            _("Keep the instant"),
            _("It comes at the instant that was approved, whatever the rules of its time zone"
              " say."),
            lambda change, author, given: verbs.keep_instant(change.pk, author),
            _("Its instant is kept."),
            asks=False,
        ),
        Verb(
            "pause",
            _("Pause"),
            _("Rows that are written stay so; the rest waits until somebody resumes. The price is"
              " in force all the time: only the writing waits."),
            lambda change, author, given: verbs.pause(change.pk, author),
            _("Paused."),
        ),
        Verb(
            "revert",
            _("Take back"),
            _("A change is planned that takes this one back. It has a preview of its own, and moves"
              " nothing before it is approved."),
            lambda change, author, given: verbs.revert(change.pk, author),
            _("Planned. It takes the change back once it is approved."),
            button=_("Plan to take it back"),
        ),
        Verb(
            "reject",
            _("Reject"),
            _("Nothing of it will happen. Its planner reads why."),
            lambda change, author, given: verbs.reject(change.pk, author, given["reason"]),
            _("Rejected. Nothing has moved."),
            is_danger=True,
        ),
        Verb(
            "cancel",
            _("Cancel the change"),
            _("Nothing of it will happen."),
            lambda change, author, given: verbs.cancel(change.pk, author),
            _("Cancelled."),
            is_danger=True,
        ),
    )
}  # fmt: skip
# The texts of a cancel after the instant, which takes something back.
BEGUN = {
    "moved": _("Nothing more moves, and the rows that have moved are taken back from now on, by a"
               " change of its own that you approve with this."),
    "copied": _("It has been in force since its instant, and is taken back from now on, by a change"
                " of its own that you approve with this. Prices that were paid in between stay as"
                " they were."),
}  # fmt: skip
# Of a change that takes another one back: what taking it back does.
BRINGS_BACK = _(
    "It takes price change %(number)s back. A change is planned that brings that one into force"
    " again; it has a preview of its own, and moves nothing before it is approved."
)
# The verbs that may take another person, with the function that says why.
WHY_NOT: dict[str, Callable[[PriceChange, str], Any]] = {
    "approve": limits.why_not,
    "accept": why_not_accept,
}


def may(user: Any, verb: Verb) -> bool:
    return any(user.has_perm(permission) for permission in verb.needs)


def needs_another(user: Any, name: str, change: PriceChange) -> str:
    """Why this verb takes another person; empty if it does not. Queries only below a limit."""
    why_not = WHY_NOT.get(name)
    refusal = None if why_not is None else why_not(change, author(user))
    return "" if refusal is None else str(getattr(refusal, "detail", refusal))


def open_to(user: Any, change: PriceChange) -> list[Verb]:
    """The verbs that this person may use on the change now, in the order of their buttons."""
    allowed = verbs.allowed(change)
    return [
        verb
        for name, verb in VERBS.items()
        if name in allowed and may(user, verb) and not needs_another(user, name, change)
    ]


def seen(change: PriceChange) -> str:
    """The state on which a question was asked: another one later means another effect."""
    return f"{change.status}/{in_force(change)}/{change.fingerprint}"
