"""Charts: a table of figures, which desk/charts.js draws by Chart.js above itself.

The table is the chart's only source, so who sees no picture reads the same figures. Chart.js comes
with Unfold, which the admin loads anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from pricebook.kit import figures

KINDS = ("line", "bar", "stacked", "waterfall")
Number = Decimal | int | None


@dataclass(frozen=True)
class Value:
    """A figure as the script reads it (a plain number with a point), and as people do."""

    raw: str | None
    shown: str


@dataclass(frozen=True)
class Row:
    label: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Chart:
    """A chart. `of`: the heading of the rows' labels; `series`: of their figures.

    The bars of a stacked chart add up to the total. A waterfall has one series of steps, whose
    first and last rows are totals. A stepped line holds each value until the next one, as prices
    do.
    """

    id: str
    kind: str
    title: str
    of: str
    series: tuple[str, ...]
    rows: tuple[Row, ...]
    is_stepped: bool = False


def chart(
    id: str,
    kind: str,
    title: str,
    of: str,
    series: Sequence[str],
    rows: Iterable[tuple[str, Sequence[Number]]],
    shown: Callable[[Number], str] = figures.amount,
    is_stepped: bool = False,
) -> Chart:
    """A chart of these rows (label, a figure for each series; None: a gap)."""
    assert kind in KINDS
    made = tuple(
        Row(label, tuple(_value(each, shown) for each in values)) for label, values in rows
    )
    return Chart(id, kind, title, of, tuple(series), made, is_stepped)


def _value(number: Number, shown: Callable[[Number], str]) -> Value:
    return Value(None, "") if number is None else Value(f"{Decimal(number):f}", shown(number))
