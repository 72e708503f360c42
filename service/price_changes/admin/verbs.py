"""The verbs of a price change on its pages: each with its button, its question and its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _lazy

from price_changes import verbs
from price_changes.models import PriceChange
from services.tasks import set_comment, set_price, wake


@dataclass(frozen=True)
class Verb:
    """A verb on a page: its button, the text of the page that asks, and the function for it."""

    name: str
    label: str | Promise
    says: str | Promise
    does: Callable[[PriceChange, str, dict[str, Any]], PriceChange]
    done: str | Promise
    permissions: tuple[str, ...] = ("approve",)  # one of them is enough
    danger: bool = False

    @property
    def asks(self) -> bool:
        """Whether a page asks first; not for verbs that move nothing."""
        return self.name not in ("preview", "keep_instant")


VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "approve",
            _lazy("Approve"),
            _lazy("Approve what the preview shows."),
            lambda change, author, given: verbs.approve(change.pk, author=author, **given),
            _lazy("Approved."),
        ),
        Verb(
            "accept",
            _lazy("Approve what it has moved"),
            _lazy(
                "It has moved prices beyond a limit, by SQL or a program, and nobody has"
                " approved that. Approve it now; no price moves."
            ),
            lambda change, author, given: verbs.accept(change.pk, author),
            _lazy("Approved: it stands."),
        ),
        Verb(
            "preview",
            _lazy("Preview again"),
            _lazy("Count anew what it would do."),
            lambda change, author, given: verbs.preview(change.pk),
            _lazy("Previewed again: this is what it would do now."),
            permissions=("add", "approve"),  # an approver needs a new preview if rows have moved
        ),
        Verb(
            "keep_instant",
            _lazy("Keep the instant"),
            _lazy(
                "It comes at the instant that was approved, whatever the rules of its time"
                " zone say."
            ),
            lambda change, author, given: verbs.keep_instant(change.pk, author),
            _lazy("Its instant is kept."),
        ),
        Verb(
            "pause",
            _lazy("Pause"),
            _lazy(
                "Rows that have moved stay moved; the rest waits until somebody resumes."
                " Chunks in hand are finished first."
            ),
            lambda change, author, given: verbs.pause(change.pk, author),
            _lazy("Paused."),
        ),
        Verb(
            "resume",
            _lazy("Resume"),
            _lazy("The rows that are left are moved."),
            lambda change, author, given: verbs.resume(change.pk, author),
            _lazy("Resumed."),
        ),
        Verb(
            "revert",
            _lazy("Take back"),
            _lazy(
                "A change is planned that takes this one back. It has a preview of its own,"
                " and moves nothing before it is approved."
            ),
            lambda change, author, given: verbs.revert(change.pk, author),
            _lazy("Planned. It takes the change back once it is approved."),
        ),
        Verb(
            "cancel",
            _lazy("Cancel"),
            _lazy("Nothing of it will happen."),
            lambda change, author, given: verbs.cancel(change.pk, author),
            _lazy("Cancelled."),
            danger=True,
        ),
    )
}
# The texts of a cancel after the instant, which takes something back.
CANCEL_BEGUN = {
    "moved": _lazy(
        "Nothing more moves, and the rows that have moved are taken back, by a"
        " change of its own that you approve with this."
    ),
    "copied": _lazy(
        "It has been in force since its instant, and is taken back from now on, by"
        " a change of its own that you approve with this. Prices that were paid in"
        " between stay as they were."
    ),
}


def wake_workers() -> None:
    wake(set_price, set_comment)


def in_order(verbs: Iterable[str]) -> list[str]:
    return [name for name in VERBS if name in verbs]
