"""The lines of a bridge as its page, its picture and the command show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from desk.charts import Chart, chart
from desk.then.words import STEPS
from price_changes.showing.bridges import NamedChange
from pricebook.kit import figures
from services.ledger.bridge import Bridge, Group, Step

# Price changes with a line of their own: those that moved most. A year may have hundreds.
SHOWN, DRAWN = 40, 10


@dataclass(frozen=True)
class Line:
    """A step in words. `kind` is empty for several changes together, which have no rows to show."""

    label: str
    says: str
    amount: Decimal
    rows: int
    kind: str = ""
    change_id: int | None = None
    is_edit: bool = False


def lines_of(
    steps: Sequence[Step], changes: Mapping[int, NamedChange], most: int = SHOWN
) -> list[Line]:
    """The lines of steps, in their order; of the price changes only the `most` largest."""
    of_changes = [step for step in steps if step.kind == "change"]
    largest = sorted(of_changes, key=lambda step: abs(step.amount), reverse=True)
    rest = largest[most:]
    lines: list[Line] = []
    for step in steps:
        if step not in rest:
            lines.append(_line(step, changes))
        if rest and step is of_changes[-1]:
            lines.append(_together(rest))
    return lines


def _line(step: Step, changes: Mapping[int, NamedChange]) -> Line:
    label, says, is_edit = str(STEPS[step.kind]), "", False
    if step.kind == "change":
        change = changes.get(step.change_id or 0)
        is_edit = change.edit if change else step.change_id is None
        label = _("Price change %(id)s") % {"id": step.change_id}
        if step.change_id is None:
            label = _("Earlier catalogue edits")
        if change is not None:
            label, says = change.title or label, change.says
    return Line(label, says, step.amount, step.rows, step.kind, step.change_id, is_edit)


def _together(steps: Sequence[Step]) -> Line:
    text = ngettext(
        "%(number)s smaller price change", "%(number)s smaller price changes", len(steps)
    )
    return Line(
        text % {"number": figures.grouped(len(steps))},
        "",
        sum((step.amount for step in steps), Decimal(0)),
        sum(step.rows for step in steps),
    )


def picture(bridge: Bridge, changes: Mapping[int, NamedChange]) -> Chart:
    """The waterfall: from the first total over the steps to the last."""
    lines = lines_of(bridge.steps, changes, DRAWN)
    rows: list[tuple[str, list[Decimal]]] = [
        (figures.day(bridge.since), [bridge.total_since.amount])
    ]
    for line in lines:
        rows.append((line.label, [line.amount]))
    rows.append((figures.day(bridge.until), [bridge.total_until.amount]))
    return chart(
        "waterfall", "waterfall", _("From one total to the other"), _("Step"), [_("Amount")], rows
    )


@dataclass(frozen=True)
class GroupLine:
    """A service, plan or client, with what the steps of each kind add up to."""

    id: int | None
    name: str
    since: Decimal
    amounts: list[Decimal | None]
    until: Decimal


def kinds_of(bridge: Bridge) -> list[str]:
    """The kinds of steps that a bridge has, in their order."""
    found = {step.kind for group in bridge.groups for step in group.steps}
    return [kind for kind in STEPS if kind in found]


def group_lines(bridge: Bridge, names: Mapping[int, str]) -> list[GroupLine]:
    kinds = kinds_of(bridge)
    return [
        GroupLine(
            group.id,
            _("All others") if group.id is None else names.get(group.id, f"#{group.id}"),
            group.since.amount,
            [_sum(group, kind) for kind in kinds],
            group.until.amount,
        )
        for group in bridge.groups
    ]


def _sum(group: Group, kind: str) -> Decimal | None:
    found = [step.amount for step in group.steps if step.kind == kind]
    return sum(found, Decimal(0)) if found else None
