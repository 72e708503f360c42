"""The recount of an approval: whether a change would still do what its preview showed.

    refused               a change of the catalogue, if the old value is another one, or if a change
                          was scheduled before it in between
    refused               a set to be held or frozen, if any row differs
    refused above a drift all others, if rows came, went or moved

The drift is a setting, APPROVAL_DRIFT, in per cent. The rows of a busy service change all the time:
if every one were a reason to refuse, it could never be approved. docs/price-changes.md says how the
drift is measured, and why.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from price_changes.errors import MovedSincePreview
from price_changes.kinds import is_of_catalogue
from price_changes.models import PriceChange
from price_changes.planning.around import counted_at, scheduled_before
from price_changes.planning.catalogue_value import values_now
from price_changes.planning.counting import Counted, count
from pricebook.kit.currency import shown


@dataclass(frozen=True)
class Moved:
    """A figure that differs from the preview, or a change that was scheduled since then."""

    figure: str
    was: Decimal | int | None
    now: Decimal | int | None

    def __str__(self) -> str:
        if self.figure == "scheduled_before":
            return _("price change %(now)s has been scheduled before it in between") % vars(self)
        return f"{self.label} {self.said_was} → {self.said_now}"

    @property
    def label(self) -> str:
        return str(LABELS[self.figure])

    @property
    def said_was(self) -> str:
        return _plain(self.was)

    @property
    def said_now(self) -> str:
        return _plain(self.now)


LABELS = {
    "old_value": _lazy("value before"),
    "new_value": _lazy("new value"),
    "rows": _lazy("rows"),
    "moves": _lazy("rows that move"),
    "total_before": _lazy("total before"),
    "total_after": _lazy("total after"),
    "scheduled_before": _lazy("scheduled before it"),
}


def _plain(value: Decimal | int | None) -> str:
    return shown(value) if isinstance(value, Decimal) else f"{value:,}"


@dataclass(frozen=True)
class Figures:
    """The figures of a preview on which an approver decides."""

    old_value: Decimal | None
    new_value: Decimal | None
    rows: int
    moves: int
    total_before: Decimal
    total_after: Decimal
    movement: Decimal
    scheduled_before: frozenset[int]

    @classmethod
    def of(cls, change: PriceChange) -> Figures:
        """The figures of the stored preview."""
        preview = change.preview
        assert preview is not None
        return cls(
            change.old_value,
            change.new_value,
            rows=preview["rows"],
            moves=preview["moves"],
            total_before=Decimal(preview["total_before"]),
            total_after=Decimal(preview["total_after"]),
            movement=Decimal(preview["movement"]),
            scheduled_before=frozenset(preview["scheduled_before"]),
        )

    @classmethod
    def now(cls, change: PriceChange, counted: Counted) -> Figures:
        """Those of a count. Two queries."""
        return cls(
            *values_now(change),
            rows=counted.rows,
            moves=counted.moves,
            total_before=counted.before,
            total_after=counted.after,
            movement=counted.movement,
            scheduled_before=frozenset(scheduled_before(change, counted_at(change))),
        )

    @property
    def difference(self) -> Decimal:
        return self.total_after - self.total_before


def moved_between(was: Figures, now: Figures) -> list[Moved]:
    """The figures that differ; none if other rows add up to the same figures."""
    names = ("old_value", "new_value", "rows", "moves", "total_before", "total_after")
    pairs = [(name, getattr(was, name), getattr(now, name)) for name in names]
    return [
        *(Moved(name, old, new) for name, old, new in pairs if old != new),
        *_scheduled_since(was.scheduled_before, now.scheduled_before),
    ]


def _scheduled_since(was: frozenset[int], now: frozenset[int]) -> list[Moved]:
    # A change that is no longer scheduled was applied or cancelled: if that matters, the other
    # figures differ.
    return [Moved("scheduled_before", None, pk) for pk in sorted(now - was)]


@dataclass(frozen=True)
class Recount:
    """The figures of a change now, beside those of its preview."""

    seen: Figures
    now: Figures
    of_catalogue: bool
    same_rows: bool

    @classmethod
    def of(cls, change: PriceChange) -> Recount:
        """Count again; nothing is stored. Three queries, one of them over all its rows; up to three
        more for a set. ChangeError as `count()`."""
        counted = count(change)
        return cls(
            Figures.of(change),
            Figures.now(change, counted),
            is_of_catalogue(change),
            counted.fingerprint == change.fingerprint,
        )

    @property
    def moved(self) -> list[Moved]:
        return moved_between(self.seen, self.now)

    @property
    def figures(self) -> list[Moved]:
        return [each for each in self.moved if each.figure != "scheduled_before"]

    @property
    def scheduled(self) -> list[int]:
        """The changes that were scheduled before it since the preview."""
        return sorted(self.now.scheduled_before - self.seen.scheduled_before)

    @property
    def differs(self) -> bool:
        return not self.same_rows or bool(self.moved)

    def refuses(self, exactly: bool = False) -> bool:
        """Whether an approval is refused; `exactly`: if any row differs, whatever the drift."""
        decided = {"old_value", "new_value", "scheduled_before"}
        if self.of_catalogue and any(each.figure in decided for each in self.moved):
            return True
        return not self.same_rows and (exactly or self.drifted)

    @property
    def refuses_all(self) -> bool:
        """Whether every approval is refused, whatever its `when_moved`."""
        return self.refuses(exactly=False)

    @property
    def drifted(self) -> bool:
        """Whether a figure differs from that of the preview by more than APPROVAL_DRIFT."""
        if not settings.APPROVAL_DRIFT:
            return True  # 0 allows not one row
        was, now = self.seen, self.now
        # (by how much, of how much). The difference is compared with the sum of all rises and
        # falls: the net difference may be small where much moves.
        measured: list[tuple[Decimal | int, Decimal | int]] = [
            (now.rows - was.rows, was.rows),
            (now.moves - was.moves, was.moves),
            (now.total_before - was.total_before, was.total_before),
            (now.total_after - was.total_after, was.total_after),
            (now.difference - was.difference, was.movement),
        ]
        return any(abs(Decimal(by)) * 100 > of * settings.APPROVAL_DRIFT for by, of in measured)


def refuse_if_moved(change: PriceChange, exactly: bool) -> None:
    """Count again; raises MovedSincePreview. Call it without the catalogue's lock: it is slow."""
    recount = Recount.of(change)
    if recount.refuses(exactly):
        raise refusal(change, recount.moved)


def refuse_if_catalogue_moved(change: PriceChange, at: datetime | None) -> None:
    """The cheap part of a recount, under the catalogue's lock; raises MovedSincePreview.

    Since the recount somebody may have edited the value, or scheduled a change before this one,
    which would come at `at` (None: now).
    """
    if not is_of_catalogue(change):
        return
    was = Figures.of(change)
    old_value, new_value = values_now(change)
    moved = [
        *([Moved("old_value", was.old_value, old_value)] if old_value != was.old_value else []),
        *([Moved("new_value", was.new_value, new_value)] if new_value != was.new_value else []),
        *_scheduled_since(was.scheduled_before, frozenset(scheduled_before(change, at))),
    ]
    if moved:
        raise refusal(change, moved)


def refusal(
    change: PriceChange, moved: list[Moved], again: PriceChange | None = None
) -> MovedSincePreview:
    """The refusal that says what has moved, in words and figures; `again` has the new preview."""
    what = "; ".join(map(str, moved)) or _("there are other rows, which add up to the same figures")
    todo = _("preview it again, and approve that one.")
    if again is not None:
        todo = _(
            "it has been previewed again. Look at the new figures, and approve them by their"
            " fingerprint, %(fingerprint)s."
        ) % {"fingerprint": again.fingerprint}
    return MovedSincePreview(
        _(
            "The effect of price change %(id)s has moved since its preview: %(what)s. Nothing was"
            " approved; %(todo)s"
        )
        % {"id": change.pk, "what": what, "todo": todo},
        again,
        currency=settings.CURRENCY,
        moved=[{"figure": each.figure, "was": each.was, "now": each.now} for each in moved],
    )
