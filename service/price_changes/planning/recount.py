"""Whether what a change would do now is what its preview showed: the recount of an approval.

    refused               another old value, or a change that was scheduled before it in between,
                          for a change of the catalogue
    refused               any other row, for a set that is to be held or frozen
    refused above a drift rows that came, went or moved, for all others

The drift is a setting, APPROVAL_DRIFT, in per cent. A busy service has other rows at each moment:
if every one of them were to refuse, it could never be approved. docs/price-changes.md says how it
is measured, and why.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings

from price_changes.errors import MovedSincePreview
from price_changes.models import PriceChange
from price_changes.planning import preview as previews
from price_changes.planning.catalogue_value import CATALOGUE, values_now


@dataclass(frozen=True)
class Moved:
    """A figure of a preview that is another one now, or a change that is scheduled since."""

    figure: str
    was: Decimal | int | None
    now: Decimal | int | None

    def __str__(self) -> str:
        if self.figure == "scheduled_before":
            return f"price change {self.now} has been scheduled before it in between"
        return f"{self.label} {self.said_was} → {self.said_now}"

    @property
    def label(self) -> str:
        return LABELS[self.figure]

    @property
    def said_was(self) -> str:
        return _plain(self.was)

    @property
    def said_now(self) -> str:
        return _plain(self.now)


LABELS = {
    "old_value": "value before",
    "new_value": "new value",
    "rows": "rows",
    "moves": "rows that move",
    "total_before": "total before",
    "total_after": "total after",
    "scheduled_before": "scheduled before it",
}


def _plain(value: Decimal | int | None) -> str:
    return f"{value:,.2f}" if isinstance(value, Decimal) else f"{value:,}"


@dataclass(frozen=True)
class Figures:
    """By what an approver decides."""

    old_value: Decimal | None
    new_value: Decimal | None
    rows: int
    moves: int
    total_before: Decimal
    total_after: Decimal
    movement: Decimal
    scheduled_before: frozenset[int]

    @classmethod
    def of(cls, values: tuple[Decimal | None, Decimal | None], preview: dict[str, Any]) -> Figures:
        return cls(
            *values,
            rows=preview["rows"],
            moves=preview["moves"],
            total_before=Decimal(preview["total_before"]),
            total_after=Decimal(preview["total_after"]),
            movement=Decimal(preview["movement"]),
            scheduled_before=frozenset(preview["scheduled_before"]),
        )

    @property
    def difference(self) -> Decimal:
        return self.total_after - self.total_before


def seen(change: PriceChange) -> Figures:
    """Those of its stored preview."""
    assert change.preview is not None
    return Figures.of((change.old_value, change.new_value), change.preview)


def moved_between(was: Figures, now: Figures) -> list[Moved]:
    """Each figure that is another one; empty too where other rows add up to the same figures."""
    names = ("old_value", "new_value", "rows", "moves", "total_before", "total_after")
    pairs = [(name, getattr(was, name), getattr(now, name)) for name in names]
    return [
        *(Moved(name, old, new) for name, old, new in pairs if old != new),
        *_scheduled_since(was.scheduled_before, now.scheduled_before),
    ]


def _scheduled_since(was: frozenset[int], now: frozenset[int]) -> list[Moved]:
    # One that is gone was applied or cancelled, which the other figures tell if it matters.
    return [Moved("scheduled_before", None, pk) for pk in sorted(now - was)]


@dataclass(frozen=True)
class Recount:
    """What a change would do now beside what its preview showed."""

    seen: Figures
    now: Figures
    of_catalogue: bool
    same_rows: bool

    @classmethod
    def of(cls, change: PriceChange) -> Recount:
        """Seven queries or so, one of them over all its rows; nothing is kept. ChangeError as
        `preview.count()`."""
        counted = previews.count(change)
        return cls(
            seen(change),
            Figures.of(values_now(change), counted.preview),
            change.kind in CATALOGUE,
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
        """The changes that have been scheduled before it in between."""
        return sorted(self.now.scheduled_before - self.seen.scheduled_before)

    @property
    def differs(self) -> bool:
        return not self.same_rows or bool(self.moved)

    def refuses(self, exactly: bool = False) -> bool:
        """Whether an approval is refused, `exactly` where it is of these rows and no others."""
        decided = {"old_value", "new_value", "scheduled_before"}
        if self.of_catalogue and any(each.figure in decided for each in self.moved):
            return True
        return not self.same_rows and (exactly or self.drifted)

    @property
    def refuses_all(self) -> bool:
        """Whether every approval is refused, whatever it says of rows that move."""
        return self.refuses(exactly=False)

    @property
    def drifted(self) -> bool:
        """Whether the figures are further from those of the preview than APPROVAL_DRIFT."""
        if not settings.APPROVAL_DRIFT:
            return True  # not one row
        was, now = self.seen, self.now
        # (by how much, of how much). The difference is measured by what prices rise and fall by:
        # a net one may be small where much moves.
        measured: list[tuple[Decimal | int, Decimal | int]] = [
            (now.rows - was.rows, was.rows),
            (now.moves - was.moves, was.moves),
            (now.total_before - was.total_before, was.total_before),
            (now.total_after - was.total_after, was.total_after),
            (now.difference - was.difference, was.movement),
        ]
        return any(abs(Decimal(by)) * 100 > of * settings.APPROVAL_DRIFT for by, of in measured)


def refuse_if_moved(change: PriceChange, exactly: bool) -> None:
    """Count again; raises MovedSincePreview. Not under the catalogue's lock: it takes its time."""
    recount = Recount.of(change)
    if recount.refuses(exactly):
        raise refusal(change, recount.moved)


def refuse_if_catalogue_moved(change: PriceChange, at: datetime | None) -> None:
    """What is cheap of it, under the catalogue's lock: since the recount somebody may have edited
    the value, or scheduled a change before it, which would come at `at` (None: now)."""
    if change.kind not in CATALOGUE:
        return
    was = seen(change)
    old_value, new_value = values_now(change)
    moved = [
        *([Moved("old_value", was.old_value, old_value)] if old_value != was.old_value else []),
        *([Moved("new_value", was.new_value, new_value)] if new_value != was.new_value else []),
        *_scheduled_since(was.scheduled_before, frozenset(previews.scheduled_before(change, at))),
    ]
    if moved:
        raise refusal(change, moved)


def refusal(
    change: PriceChange, moved: list[Moved], again: PriceChange | None = None
) -> MovedSincePreview:
    """What has moved, in words and figures; `again` is the change with the new preview."""
    what = "; ".join(map(str, moved)) or "there are other rows, which add up to the same figures"
    todo = "preview it again, and approve that one."
    if again is not None:
        todo = (
            "it has been previewed again. Look at the new figures, and approve them by their"
            f" fingerprint, {again.fingerprint}."
        )
    return MovedSincePreview(
        f"What price change {change.pk} would do has moved since its preview: {what}. Nothing was"
        f" approved; {todo}",
        again,
        moved=[{"figure": each.figure, "was": each.was, "now": each.now} for each in moved],
    )
